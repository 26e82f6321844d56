package oauthclient

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
)

// NewHTTPClientWith is NewHTTPClient with the test's own name resolution and
// certificate authority.
func NewHTTPClientWith(policy NetworkPolicy, resolver *net.Resolver, roots *x509.CertPool) *http.Client {
	t := newGuardedTransport(policy, resolver)
	t.secure.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: t}
}

// CheckURL tells what the guard of a client of NewHTTPClient says to a URL
// before anything is looked up.
func CheckURL(client *http.Client, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	return client.Transport.(*guardedTransport).checkURL(u)
}
