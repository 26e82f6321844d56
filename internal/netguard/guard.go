// Package netguard is an HTTP transport that reaches only the addresses that a
// policy allows. It checks the URL of a request, for what the dialer cannot
// see, and the address that is dialed, for what a URL does not show.
package netguard

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/idna"
)

// ErrForbidden is in the chain of errors about an address that the policy does
// not allow.
var ErrForbidden = errors.New("the network policy does not allow this address")

// Policy says which servers may be reached; oauthclient.NetworkPolicy documents
// its fields.
type Policy struct {
	AllowLoopback     bool
	AllowNetworks     []netip.Prefix
	DenyNetworks      []netip.Prefix
	AllowPorts        []uint16
	AllowAnyPort      bool
	RootCAs           *x509.CertPool
	ClientCertificate func(host string) *tls.Certificate
	TrustedProxy      *url.URL
	DialTimeout       time.Duration
	MaxHeaderBytes    int64
	PingAfter         time.Duration
	PingTimeout       time.Duration
}

// withDefaults returns the policy with its limits completed.
func (p Policy) withDefaults() Policy {
	p.AllowPorts, p.DenyNetworks = slices.Clone(p.AllowPorts), slices.Clone(p.DenyNetworks)
	if p.TrustedProxy != nil {
		p.TrustedProxy = new(*p.TrustedProxy)
	}
	if len(p.AllowPorts) == 0 {
		p.AllowPorts = []uint16{443, 8443}
	}
	for limit, value := range map[*time.Duration]time.Duration{
		&p.DialTimeout: 10 * time.Second, &p.PingAfter: 15 * time.Second, &p.PingTimeout: 15 * time.Second,
	} {
		if *limit <= 0 {
			*limit = value
		}
	}
	if p.MaxHeaderBytes <= 0 {
		p.MaxHeaderBytes = 64 << 10
	}
	return p
}

// Transport enforces a [Policy].
type Transport struct {
	policy    Policy
	mistakes  error // in policy
	addresses *ssrf.Guardian

	secure *pool // for https
	plain  *pool // for http, which reaches loopback addresses only
}

// New makes a transport. The zero Names are those of the system.
func New(policy Policy, names Names) *Transport {
	var v4, v6 []netip.Prefix
	for _, p := range policy.AllowNetworks {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	t := &Transport{
		policy:    policy.withDefaults(),
		mistakes:  policy.validate(),
		addresses: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)),
	}
	t.secure = newPool(t.policy, names, t.checkAddress)
	t.plain = newPool(t.policy, names, func(addr netip.AddrPort) error {
		if !t.loopback(addr.Addr()) {
			return forbidden("https is required")
		}
		return t.checkAddress(addr)
	})
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.mistakes != nil {
		return nil, t.mistakes
	}
	if err := t.CheckURL(req.URL); err != nil {
		return nil, err
	}
	if t.policy.ClientCertificate != nil {
		req = req.WithContext(withServer(req.Context(), req.URL))
	}
	if req.URL.Scheme == "http" {
		return t.plain.RoundTrip(req)
	}
	return t.secure.RoundTrip(req)
}

// CloseIdleConnections serves [http.Client.CloseIdleConnections].
func (t *Transport) CloseIdleConnections() {
	t.secure.closeIdle()
	t.plain.closeIdle()
}

// CheckURL refuses a URL that shows by itself that it must not be visited. It
// looks no name up; where a name leads is checked when it is dialed.
func (t *Transport) CheckURL(u *url.URL) error {
	host, err := hostOf(u)
	if err != nil {
		return forbidden("the host is no valid name")
	}
	local := IsLoopback(host)
	if u.Scheme != "https" && !(u.Scheme == "http" && t.policy.AllowLoopback && local) {
		return forbidden("https is required")
	}
	port := uint64(443)
	if u.Port() != "" {
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

// hostOf returns the host of a URL as it is looked up, or shown to a proxy:
// [http.Transport] sends a name in other letters in ASCII, and some letters become
// digits, dots and names of the machine itself.
func hostOf(u *url.URL) (string, error) {
	host, err := ASCIIHost(u.Hostname())
	return strings.TrimSuffix(host, "."), err
}

// ASCIIHost returns a host in lower case and in punycode (RFC 5891).
func ASCIIHost(host string) (string, error) {
	if strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return idna.Lookup.ToASCII(host)
	}
	return strings.ToLower(host), nil
}

// maxWrapped bounds what hosts put around a transport.
const maxWrapped = 100

// Find returns the transport with a policy that a host has put something around,
// as [http.ResponseController] looks through ResponseWriters; nil if there is none.
func Find(transport http.RoundTripper) *Transport {
	for range maxWrapped {
		switch t := transport.(type) {
		case *Transport:
			return t
		case interface{ Unwrap() http.RoundTripper }:
			transport = t.Unwrap()
		default:
			return nil
		}
	}
	return nil
}

// CheckBrowserURL applies the policy of a transport to a URL that the user's
// browser is to visit. Without a policy the transport is the host's own, and so
// are its checks.
func CheckBrowserURL(transport http.RoundTripper, raw string) error {
	t := Find(transport)
	if t == nil {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return forbidden("it is no URL")
	}
	return t.CheckURL(u)
}

// checkAddress decides about an address and port.
func (t *Transport) checkAddress(addr netip.AddrPort) error {
	plain := addr.Addr().Unmap().WithZone("")
	if slices.ContainsFunc(t.policy.DenyNetworks, func(p netip.Prefix) bool { return p.Contains(plain) }) {
		return forbidden("the network is among NetworkPolicy.DenyNetworks")
	}
	if t.loopback(addr.Addr()) {
		return nil
	}
	if err := t.checkPort(addr.Port()); err != nil {
		return err
	}
	if err := t.addresses.SafeAddr(addr.Addr()); err != nil {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return nil
}

func (t *Transport) checkPort(port uint16) error {
	if !t.policy.AllowAnyPort && !slices.Contains(t.policy.AllowPorts, port) {
		return forbidden("port " + strconv.Itoa(int(port)) + " is not among NetworkPolicy.AllowPorts")
	}
	return nil
}

// loopback reports whether an address is exempt because of AllowLoopback.
func (t *Transport) loopback(addr netip.Addr) bool {
	return t.policy.AllowLoopback && addr.Unmap().IsLoopback()
}

func forbidden(why string) error { return fmt.Errorf("%w: %s", ErrForbidden, why) }

// IsLoopback reports whether a URL's host name is the machine itself.
func IsLoopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// endsInNumber reports whether a host name looks like an IPv4 address to
// resolvers that also accept decimal, octal and hexadecimal spellings (URL
// standard, "ends in a number").
func endsInNumber(host string) bool {
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
}
