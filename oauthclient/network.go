package oauthclient

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// NetworkPolicy says which servers may be reached, and what a connection may
// cost. The zero value allows https to public addresses on ports 443 and 8443
// only.
type NetworkPolicy struct {
	// AllowLoopback also allows loopback addresses, on any port, and plain
	// http to them, for development and tests. Nothing else is relaxed.
	AllowLoopback bool
	// AllowNetworks are networks to be reached although they are not public,
	// for MCP servers inside a company. Https is still required, and
	// AllowPorts still holds.
	AllowNetworks []netip.Prefix
	// AllowPorts are the ports to be reached, so that nobody can use the host
	// to see which ports of other machines are open. Defaults to 443 and 8443.
	AllowPorts []uint16
	// AllowAnyPort allows every port. Defaults to false.
	AllowAnyPort bool

	// DialTimeout bounds establishing a connection, and then its TLS
	// handshake. Zero or less: defaults to 10 seconds.
	DialTimeout time.Duration
	// MaxHeaderBytes bounds the header of an answer. Zero or less: defaults
	// to 64 KiB.
	MaxHeaderBytes int64
}

// NewTransport returns a transport for [Shared.Transport] that enforces policy
// on every connection it makes: the address is checked when it is dialed,
// after name resolution and for every redirect, so neither DNS rebinding nor
// an odd spelling of an address gets around it. Proxies from the environment
// are not used, because behind one the address could not be checked.
//
// A refused request fails with [ErrForbiddenAddress]. The policy also holds for
// authorization endpoints, which only the user's browser visits, as far as a
// URL shows by itself where it leads.
//
// Share one among all clients; it keeps idle connections to many hosts.
func NewTransport(policy NetworkPolicy) http.RoundTripper {
	return newGuardedTransport(policy, nil)
}

// ErrForbiddenAddress is in the chain of errors about a server, or a URL that a
// server announced, which the [NetworkPolicy] does not allow to be reached.
var ErrForbiddenAddress = errors.New("the network policy does not allow this address")

// guardedTransport enforces a [NetworkPolicy]: on URLs, for what the dialer
// cannot see, and on the addresses that are dialed, for what URLs do not show.
type guardedTransport struct {
	allowLoopback bool
	ports         []uint16 // nil for any
	addresses     *ssrf.Guardian

	secure *http.Transport // for https
	plain  *http.Transport // for http, which reaches loopback addresses only
}

// newGuardedTransport makes a transport that looks names up with resolver; nil
// means the system's.
func newGuardedTransport(policy NetworkPolicy, resolver *net.Resolver) *guardedTransport {
	var v4, v6 []netip.Prefix
	for _, p := range policy.AllowNetworks {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	t := &guardedTransport{
		allowLoopback: policy.AllowLoopback,
		ports:         slices.Clone(policy.AllowPorts),
		addresses:     ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)),
	}
	switch {
	case policy.AllowAnyPort:
		t.ports = nil
	case len(t.ports) == 0:
		t.ports = []uint16{443, 8443}
	}
	if policy.DialTimeout <= 0 {
		policy.DialTimeout = 10 * time.Second
	}
	if policy.MaxHeaderBytes <= 0 {
		policy.MaxHeaderBytes = 64 << 10
	}
	t.secure = newBaseTransport(policy, resolver, t.checkAddress)
	t.plain = newBaseTransport(policy, resolver, func(addr netip.AddrPort) error {
		if !t.loopback(addr.Addr()) {
			return forbidden("https is required")
		}
		return nil
	})
	return t
}

// newBaseTransport makes a transport that connects to addresses that check
// agrees to.
func newBaseTransport(policy NetworkPolicy, resolver *net.Resolver, check func(netip.AddrPort) error) *http.Transport {
	dialer := &net.Dialer{Timeout: policy.DialTimeout, KeepAlive: 30 * time.Second, Resolver: resolver}
	dialer.Control = func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return forbidden("it is no IP address")
		}
		return check(addr)
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           1000,
		MaxIdleConnsPerHost:    100,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    policy.DialTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: policy.MaxHeaderBytes,
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.checkURL(req.URL); err != nil {
		return nil, err
	}
	if req.URL.Scheme == "http" {
		return t.plain.RoundTrip(req)
	}
	return t.secure.RoundTrip(req)
}

// CloseIdleConnections serves [http.Client.CloseIdleConnections].
func (t *guardedTransport) CloseIdleConnections() {
	t.secure.CloseIdleConnections()
	t.plain.CloseIdleConnections()
}

// checkURL refuses a URL that shows by itself that it must not be visited. It
// looks no name up; where a name leads is checked when it is dialed.
func (t *guardedTransport) checkURL(u *url.URL) error {
	host := strings.TrimSuffix(u.Hostname(), ".")
	local := isLoopbackHost(host)
	if u.Scheme != "https" && !(u.Scheme == "http" && t.allowLoopback && local) {
		return forbidden("https is required")
	}
	port := uint64(443)
	if u.Port() != "" {
		var err error
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil {
			return forbidden("the port is no number")
		}
	} else if u.Scheme == "http" {
		port = 80
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		addr = addr.Unmap()
	case local:
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case endsInNumber(host):
		// Resolvers take it for an address, each in its own way.
		return forbidden("an IP address must be written in the usual form")
	default:
		return t.checkPort(uint16(port))
	}
	return t.checkAddress(netip.AddrPortFrom(addr, uint16(port)))
}

// checkAddress decides about an address and port.
func (t *guardedTransport) checkAddress(addr netip.AddrPort) error {
	if t.loopback(addr.Addr()) {
		return nil
	}
	if err := t.checkPort(addr.Port()); err != nil {
		return err
	}
	if err := t.addresses.SafeAddr(addr.Addr()); err != nil {
		return fmt.Errorf("%w: %w", ErrForbiddenAddress, err)
	}
	return nil
}

func (t *guardedTransport) checkPort(port uint16) error {
	if t.ports != nil && !slices.Contains(t.ports, port) {
		return forbidden("port " + strconv.Itoa(int(port)) + " is not among NetworkPolicy.AllowPorts")
	}
	return nil
}

// loopback tells whether an address is exempt because of AllowLoopback.
func (t *guardedTransport) loopback(addr netip.Addr) bool {
	return t.allowLoopback && addr.Unmap().IsLoopback()
}

func forbidden(why string) error { return fmt.Errorf("%w: %s", ErrForbiddenAddress, why) }

// endsInNumber tells whether a host name looks like an IPv4 address to those
// who also accept decimal, octal and hexadecimal spellings (URL standard,
// "ends in a number").
func endsInNumber(host string) bool {
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
}

// checkBrowserURL applies the policy of a guarded transport to a URL that the
// user's browser is to visit. What a host put around that transport is looked
// through, as [http.ResponseController] does with ResponseWriters. Another
// transport is the host's own, and so is its policy then.
func checkBrowserURL(transport http.RoundTripper, raw string) error {
	for {
		switch t := transport.(type) {
		case *guardedTransport:
			u, err := url.Parse(raw)
			if err != nil {
				return forbidden("it is no URL")
			}
			return t.checkURL(u)
		case interface{ Unwrap() http.RoundTripper }:
			transport = t.Unwrap()
		default:
			return nil
		}
	}
}
