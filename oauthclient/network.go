package oauthclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
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
	// DenyNetworks are networks that are not reached, also if they are public or
	// allowed otherwise.
	DenyNetworks []netip.Prefix
	// AllowPorts are the ports to be reached, so that users cannot find open
	// ports of other machines through the host. Defaults to 443 and 8443.
	AllowPorts []uint16
	// AllowAnyPort allows every port. Defaults to false.
	AllowAnyPort bool

	// RootCAs verify the certificates of servers. Add to [x509.SystemCertPool] for
	// a company's own authority. Defaults to the system's.
	RootCAs *x509.CertPool
	// ClientCertificate, if set, returns the certificate that shows a server who
	// the host is (mutual TLS), or nil. It is called when a connection to a server
	// that asks for one is made, with the host of the URL in lower case and in
	// ASCII. A server learns from a certificate who the host is: return one to known
	// servers only. An https TrustedProxy that asks for a certificate gets the
	// server's.
	ClientCertificate func(host string) *tls.Certificate
	// TrustedProxy is an http or https proxy for all requests but those to
	// loopback. The proxy is trusted to check where names lead, because only the
	// proxy looks them up: this policy then holds for what a URL shows by itself.
	// The proxy may be at any address. Defaults to none.
	TrustedProxy *url.URL

	// DialTimeout bounds establishing a connection, and then its TLS
	// handshake. Zero or less: defaults to 10 seconds.
	DialTimeout time.Duration
	// MaxHeaderBytes bounds the header of an answer. Zero or less: defaults
	// to 64 KiB.
	MaxHeaderBytes int64
	// PingAfter is the silence after which an HTTP/2 connection is asked by a
	// ping whether it still works: all users of a server share it. Zero or
	// less: defaults to 15 seconds.
	PingAfter time.Duration
	// PingTimeout is the time the answer to a ping may take; then the
	// connection is closed. Zero or less: defaults to 15 seconds.
	PingTimeout time.Duration
}

// NewTransport returns a transport for [Shared.Transport] that enforces policy
// on every connection it makes: the address is checked when it is dialed,
// after name resolution and for every redirect, so neither DNS rebinding nor
// an odd spelling of an address gets around it. Proxies from the environment
// are not used, because behind one the address could not be checked; see
// TrustedProxy.
//
// A refused request fails with [ErrForbiddenAddress]. The policy also holds for
// authorization endpoints, which only the user's browser visits, as far as a
// URL shows by itself where it leads.
//
// A request that got no answer for a second or more and was then given up
// leaves its connection in doubt: later requests to that server use another.
//
// Share one among all clients; it keeps idle connections to many hosts. A mistake
// in policy is an error of [New], and of every request.
func NewTransport(policy NetworkPolicy) http.RoundTripper {
	return netguard.New(netguard.Policy(policy), netguard.Names{})
}

// ErrForbiddenAddress is in the chain of errors about a server, or a URL that a
// server announced, which the [NetworkPolicy] does not allow to be reached.
var ErrForbiddenAddress = netguard.ErrForbidden

// errUnguarded is a transport without a network policy.
var errUnguarded = errors.New("has no NetworkPolicy: a transport around that of NewTransport needs a method Unwrap() http.RoundTripper, and one of the host's own InsecureTransport")

// checkTransport returns why a transport must not carry requests.
func (s Shared) checkTransport() error {
	if s.Transport == nil || s.InsecureTransport {
		return nil
	}
	guarded := netguard.Find(s.Transport)
	if guarded == nil {
		return errUnguarded
	}
	return guarded.Mistakes()
}
