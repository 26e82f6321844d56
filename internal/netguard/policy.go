package netguard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
)

// validate returns all mistakes of a policy.
func (p Policy) validate() error {
	var errs []error
	bad := func(field, reason string) {
		errs = append(errs, fmt.Errorf("NetworkPolicy.%s: %s", field, reason))
	}
	for field, networks := range map[string][]netip.Prefix{"AllowNetworks": p.AllowNetworks, "DenyNetworks": p.DenyNetworks} {
		for i, network := range networks {
			if !network.IsValid() || network.Addr().Is4In6() {
				bad(fmt.Sprintf("%s[%d]", field, i), "must be an IPv4 or IPv6 network")
			}
		}
	}
	if u := p.TrustedProxy; u != nil && (u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		bad("TrustedProxy", "must be an http or https URL")
	}
	return errors.Join(errs...)
}

// Mistakes returns what is wrong with the policy of a transport. Such a transport
// carries no request.
func (t *Transport) Mistakes() error { return t.mistakes }

// proxy returns how to connect: through the proxy of the policy, except to the
// machine itself, which the proxy would take for its own.
func (p Policy) proxy(checked *net.Dialer) (proxy func(*http.Request) (*url.URL, error), dial func(context.Context, string, string) (net.Conn, error)) {
	if p.TrustedProxy == nil {
		return nil, checked.DialContext
	}
	unchecked := *checked
	unchecked.Control = nil
	at := proxyAddress(p.TrustedProxy)
	dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == at {
			return unchecked.DialContext(ctx, network, address)
		}
		return checked.DialContext(ctx, network, address)
	}
	proxy = func(req *http.Request) (*url.URL, error) {
		if host, _ := hostOf(req.URL); IsLoopback(host) { // CheckURL has seen it
			return nil, nil //nolint:nilnil // the contract of http.Transport.Proxy: no proxy
		}
		return p.TrustedProxy, nil
	}
	return proxy, dial
}

// proxyAddress returns what [http.Transport] dials for a proxy.
func proxyAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// serverKey is the key of the server that a connection is made for. The context of
// a request is the one thing that reaches the handshake.
type serverKey struct{}

func withServer(ctx context.Context, u *url.URL) context.Context {
	host, _ := ASCIIHost(u.Hostname()) // CheckURL has seen it
	return context.WithValue(ctx, serverKey{}, host)
}

// tls returns the configuration of handshakes.
func (p Policy) tls(base *tls.Config) *tls.Config {
	cfg := base.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if p.RootCAs != nil {
		cfg.RootCAs = p.RootCAs.Clone()
	}
	if p.ClientCertificate != nil {
		cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			host, _ := info.Context().Value(serverKey{}).(string)
			if certificate := p.ClientCertificate(host); certificate != nil && host != "" {
				return certificate, nil
			}
			return new(tls.Certificate), nil // none
		}
	}
	return cfg
}
