package netguard_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

func prefixes(texts ...string) (networks []netip.Prefix) {
	for _, text := range texts {
		networks = append(networks, netip.MustParsePrefix(text))
	}
	return networks
}

// What is denied is denied, whatever else allows it, in every spelling, in URLs
// and after names are looked up.
func TestDenyNetworks(t *testing.T) {
	t.Parallel()
	denying := client(netguard.Policy{
		AllowLoopback: true, AllowNetworks: prefixes("10.0.0.0/8"),
		DenyNetworks: prefixes("10.66.0.0/16", "1.1.1.0/24", "2606:4700::/32", "127.0.0.0/8", "::1/128"),
	}, netguard.Names{})
	for _, raw := range []string{
		"https://10.66.1.2/", "https://[::ffff:10.66.1.2]/", "https://1.1.1.1/", "https://[2606:4700:4700::1111]/",
		"http://127.0.0.1:8080/", "https://localhost/", "https://localhost./", "http://[::1]/",
	} {
		require.ErrorIs(t, checkURL(t, denying, raw), netguard.ErrForbidden, raw)
	}
	for _, raw := range []string{"https://10.67.1.2/", "https://8.8.8.8/", "https://example.com/"} {
		require.NoError(t, checkURL(t, denying, raw), raw)
	}
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	require.NoError(t, get(t, client(netguard.Policy{AllowLoopback: true}, netguard.Names{}), server.URL))
	err := get(t, client(netguard.Policy{AllowLoopback: true, DenyNetworks: prefixes("127.0.0.0/8")}, netguard.Names{}), "http://localhost:"+port(t, server.URL))
	require.ErrorIs(t, err, netguard.ErrForbidden)
}

func port(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u.Port()
}

// A policy with a mistake carries nothing.
func TestMistakesInAPolicy(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]netguard.Policy{
		"DenyNetworks[0]":  {DenyNetworks: []netip.Prefix{{}}},
		"AllowNetworks[1]": {AllowNetworks: append(prefixes("10.0.0.0/8"), netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104))},
		"TrustedProxy":     {TrustedProxy: &url.URL{Scheme: "socks5", Host: "proxy:1080"}},
	} {
		transport := netguard.New(policy, netguard.Names{})
		require.ErrorContains(t, transport.Mistakes(), "NetworkPolicy."+name)
		require.ErrorContains(t, get(t, &http.Client{Transport: transport}, "https://example.com"), "NetworkPolicy."+name)
	}
}

// connectProxy is a proxy that tunnels to one server, whatever it is asked for.
type connectProxy struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newConnectProxy(t *testing.T, to string) *connectProxy {
	t.Helper()
	p := new(connectProxy)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.Host)
		p.mu.Unlock()
		server, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		defer server.Close()
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		go func() { _, _ = bufio.NewReader(server).WriteTo(conn) }()
		_, _ = buffered.WriteTo(server)
	}))
	t.Cleanup(p.Close)
	return p
}

// A proxy that is trusted to check gets all requests, and their host names, unless
// the URL alone shows that the address is forbidden.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	proxy := newConnectProxy(t, server.Listener.Addr().String())
	at, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	c := client(netguard.Policy{TrustedProxy: at, RootCAs: roots}, netguard.Names{})
	require.NoError(t, get(t, c, "https://example.com/mcp")) // the name in the certificate
	for _, raw := range []string{"https://10.0.0.1/", "https://169.254.169.254/", "http://example.com/", "https://example.com:22/", "https://localhost/", proxy.URL} {
		require.ErrorIs(t, get(t, c, raw), netguard.ErrForbidden, raw)
	}
	// Spellings of these that become them on their way to the proxy.
	for _, raw := range []string{"https://10。0。0。1/", "https://１０.0.0.１/", "https://169.254.169.２５４/", "https://ⓛocalhost/", "https://127.0.0.1。/"} {
		require.ErrorIs(t, get(t, c, raw), netguard.ErrForbidden, raw)
		u, err := url.Parse(raw)
		require.NoError(t, err)
		require.ErrorIs(t, netguard.New(netguard.Policy{}, netguard.Names{}).CheckURL(u), netguard.ErrForbidden, raw)
	}
	local := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(local.Close)
	require.NoError(t, get(t, client(netguard.Policy{TrustedProxy: at, AllowLoopback: true}, netguard.Names{}), local.URL))
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	require.Equal(t, []string{"CONNECT example.com:443"}, proxy.asked)
}

// A client certificate is shown to the servers that the host names, behind a proxy
// too, and to no other.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	shown := make(map[string]bool)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		shown[r.Host] = len(r.TLS.PeerCertificates) > 0
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	proxy := newConnectProxy(t, server.Listener.Addr().String())
	at, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	certificate := selfSigned(t)
	policy := netguard.Policy{RootCAs: roots, AllowLoopback: true, ClientCertificate: func(host string) *tls.Certificate {
		if host == "example.com" || host == "127.0.0.1" {
			return certificate
		}
		return nil
	}}
	require.NoError(t, get(t, client(policy, netguard.Names{}), server.URL))
	policy.TrustedProxy = at
	c := client(policy, netguard.Names{})
	for _, host := range []string{"other.example.com", "EXAMPLE.com", "other.example.com"} {
		require.NoError(t, get(t, c, "https://"+host))
	}
	mu.Lock()
	defer mu.Unlock()
	require.True(t, shown["127.0.0.1:"+port(t, server.URL)])
	require.True(t, shown["EXAMPLE.com"] || shown["example.com"])
	require.False(t, shown["other.example.com"])
	require.Len(t, shown, 3)
}

// selfSigned makes a certificate.
func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// wrapped is what a host puts around a transport.
type wrapped struct{ http.RoundTripper }

func (w wrapped) Unwrap() http.RoundTripper { return w.RoundTripper }

// endless leads nowhere.
type endless struct{ http.RoundTripper }

func (e *endless) Unwrap() http.RoundTripper { return e }

func TestFindGuardBelowWrappers(t *testing.T) {
	t.Parallel()
	guarded := netguard.New(netguard.Policy{}, netguard.Names{})
	require.Same(t, guarded, netguard.Find(wrapped{wrapped{guarded}}))
	for name, transport := range map[string]http.RoundTripper{
		"none": nil, "the host's own": http.DefaultTransport, "wrapped": wrapped{http.DefaultTransport},
		"hidden": struct{ http.RoundTripper }{guarded}, "to nothing": wrapped{}, "endless": new(endless),
	} {
		require.Nil(t, netguard.Find(transport), name)
	}
}
