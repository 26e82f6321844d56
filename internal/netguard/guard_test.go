package netguard_test

import (
	"context"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

func client(policy netguard.Policy, names netguard.Names) *http.Client {
	return &http.Client{Transport: netguard.New(policy, names)}
}

// checkURL returns what the guard says to a URL before anything is looked up.
func checkURL(t *testing.T, client *http.Client, raw string) error {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return client.Transport.(*netguard.Transport).CheckURL(u)
}

func get(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	resp, err := client.Get(url)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

// Some resolvers accept spellings of addresses that no honest server uses. The policy
// refuses the spelling, and does not ask a resolver.
func TestOddSpellingsOfAddresses(t *testing.T) {
	t.Parallel()
	client := client(netguard.Policy{}, netguard.Names{})
	for name, url := range map[string]string{
		"decimal":                     "https://2130706433/",
		"decimal, metadata service":   "https://2852039166/latest/meta-data/",
		"octal":                       "https://0177.0.0.1/",
		"octal, whole":                "https://017700000001/",
		"hexadecimal":                 "https://0x7f.0x0.0x0.0x1/",
		"hexadecimal, whole":          "https://0x7f000001/",
		"hexadecimal, capitals":       "https://0X7F000001/",
		"short":                       "https://127.1/",
		"zero":                        "https://0/",
		"too large":                   "https://127.0.0.256/",
		"trailing dot":                "https://127.0.0.1./",
		"trailing dot, decimal":       "https://2130706433./",
		"trailing dot, name":          "https://localhost./",
		"name in capitals":            "https://LOCALHOST/",
		"name below localhost":        "https://metadata.localhost/",
		"IPv4-mapped":                 "https://[::ffff:10.0.0.1]/",
		"IPv4-mapped, hexadecimal":    "https://[::ffff:a9fe:a9fe]/",
		"IPv4-compatible":             "https://[::127.0.0.1]/",
		"NAT64":                       "https://[64:ff9b::10.0.0.1]/",
		"NAT64, local prefix":         "https://[64:ff9b:1::a00:1]/",
		"6to4":                        "https://[2002:7f00:1::]/",
		"Teredo":                      "https://[2001:0:7f00:1::]/",
		"link-local with a zone":      "https://[fe80::1%25lo]/",
		"loopback with a zone":        "https://[::1%25lo]/",
		"site-local":                  "https://[fec0::1]/",
		"CGNAT, last":                 "https://100.127.255.254/",
		"this network":                "https://0.1.2.3/",
		"broadcast":                   "https://255.255.255.255/",
		"user info in front":          "https://example.com@127.0.0.1/",
		"full-width digits":           "https://１２７.0.0.1/",
		"no host":                     "https:///",
		"a scheme for files":          "file:///etc/passwd",
		"a scheme for other services": "gopher://127.0.0.1:6379/_FLUSHALL",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, get(t, client, url), netguard.ErrForbidden)
		})
	}
}

// An address is public up to the last one before a private network.
func TestPublicAddressesAreAllowed(t *testing.T) {
	t.Parallel()
	client := client(netguard.Policy{}, netguard.Names{})
	for _, url := range []string{
		"https://9.255.255.255/", "https://11.0.0.0:443/", "https://172.15.255.255/", "https://172.32.0.0:8443/", "https://100.63.255.255/",
		"https://[2606:4700::1111]/", "https://[::ffff:8.8.8.8]/", "https://mcp.example.com/mcp", "https://mcp.example.com./mcp", "https://8x8.vc/", "https://0xdeadbeef.example/",
	} {
		require.NoError(t, checkURL(t, client, url), url)
	}
}

// Plain http is refused by its URL, so also where only a browser would go.
func TestPlainHTTPIsRefusedUnseen(t *testing.T) {
	t.Parallel()
	for _, policy := range []netguard.Policy{
		{}, {AllowAnyPort: true}, {AllowLoopback: true, AllowAnyPort: true}, {AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, AllowAnyPort: true},
	} {
		client := client(policy, netguard.Names{})
		for _, url := range []string{"http://mcp.example/", "http://mcp.example:443/", "http://10.0.0.1/", "http://8.8.8.8/", "ftp://mcp.example/", "//mcp.example/"} {
			require.ErrorIs(t, checkURL(t, client, url), netguard.ErrForbidden, url)
		}
	}
}

// A host must not be a scanner for other machines' ports.
func TestPortsOfOtherServices(t *testing.T) {
	t.Parallel()
	strict := client(netguard.Policy{}, netguard.Names{})
	own := client(netguard.Policy{AllowPorts: []uint16{3000}}, netguard.Names{})
	any := client(netguard.Policy{AllowAnyPort: true}, netguard.Names{})
	for _, port := range []string{"22", "25", "80", "3000", "5432", "6379", "11211", "65535", "0"} {
		for _, host := range []string{"mcp.example.com", "8.8.8.8"} {
			require.ErrorIs(t, get(t, strict, "https://"+host+":"+port+"/"), netguard.ErrForbidden, port)
			require.NoError(t, checkURL(t, any, "https://"+host+":"+port+"/"), port)
			if port != "3000" {
				require.ErrorIs(t, get(t, own, "https://"+host+":"+port+"/"), netguard.ErrForbidden, port)
			}
		}
	}
	require.NoError(t, checkURL(t, own, "https://mcp.example.com:3000/"))
	require.ErrorIs(t, checkURL(t, own, "https://mcp.example.com/"), netguard.ErrForbidden, "AllowPorts is the whole list")
	require.ErrorIs(t, get(t, own, "https://127.0.0.1:3000/"), netguard.ErrForbidden, "a port opens no address")
	inside := client(netguard.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, netguard.Names{})
	require.NoError(t, checkURL(t, inside, "https://10.0.0.1/"))
	require.ErrorIs(t, get(t, inside, "https://10.0.0.1:6379/"), netguard.ErrForbidden, "a network opens no port")
}

// tlsServer is an https server at an address, for the name example.com. It
// counts the connections that reach it.
func tlsServer(t *testing.T, address string) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no address %s on this machine: %v", address, err) // only Linux has all of 127.0.0.0/8
	}
	connections := new(atomic.Int64)
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = srv.Listener.Close()
	srv.Listener = listener
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, connections
}

// zone is what a name server knows: the IPv4 addresses of names.
type zone struct {
	mu    sync.Mutex
	names map[string][]string
}

func (z *zone) set(name string, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.names == nil {
		z.names = make(map[string][]string)
	}
	z.names[name] = addresses
}

func (z *zone) get(name string) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.names[name]
}

// serve starts a name server and returns a resolver that asks it.
func (z *zone) serve(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		query := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(z.answer(query[:n]), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answer answers a query (RFC 1035 section 4) of one question.
func (z *zone) answer(query []byte) []byte {
	const header, typeA = 12, 1
	end := header
	var labels []string
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		labels = append(labels, string(query[end+1:next]))
		end = next
	}
	question := query[header : end+5]
	var addresses []string
	if binary.BigEndian.Uint16(query[end+1:]) == typeA {
		addresses = z.get(strings.Join(labels, "."))
	}
	out := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, byte(len(addresses)), 0, 0, 0, 0}, question...)
	for _, address := range addresses {
		ip := netip.MustParseAddr(address).As4()
		out = append(out, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4) // the name, A, IN, TTL 0
		out = append(out, ip[:]...)
	}
	return out
}

// A name may lead to an allowed address when it is checked and to a private one when
// it is dialed. The policy applies to the address that is dialed.
func TestDNSRebinding(t *testing.T) {
	t.Parallel()
	allowed, visits := tlsServer(t, "127.0.0.2:0")
	_, port, err := net.SplitHostPort(allowed.Listener.Addr().String())
	require.NoError(t, err)
	_, inside := tlsServer(t, "127.0.0.1:"+port)
	names := new(zone)
	client := client(netguard.Policy{
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, AllowAnyPort: true,
	}, netguard.Names{Resolver: names.serve(t), TLS: allowed.Client().Transport.(*http.Transport).TLSClientConfig})
	t.Cleanup(client.CloseIdleConnections)
	target := "https://example.com:" + port + "/"

	names.set("example.com", "127.0.0.2")
	require.NoError(t, get(t, client, target), "public first")
	require.EqualValues(t, 1, visits.Load())
	client.CloseIdleConnections()
	for _, private := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"} {
		names.set("example.com", private)
		require.ErrorIs(t, get(t, client, target), netguard.ErrForbidden, "%s second", private)
	}
	for _, both := range [][]string{{"127.0.0.1", "127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}} {
		names.set("example.com", both...)
		_ = get(t, client, target) // may use the allowed one of both
		client.CloseIdleConnections()
	}
	require.Zero(t, inside.Load())
}

// A public server's redirect is a request like any other.
func TestRedirectToAPrivateName(t *testing.T) {
	t.Parallel()
	srv, _ := tlsServer(t, "127.0.0.2:0")
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	require.NoError(t, err)
	_, inside := tlsServer(t, "127.0.0.1:"+port)
	srv.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	names := new(zone)
	names.set("example.com", "127.0.0.2")
	names.set("www.example.com", "127.0.0.1")
	client := client(netguard.Policy{
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, AllowAnyPort: true,
	}, netguard.Names{Resolver: names.serve(t), TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig})
	t.Cleanup(client.CloseIdleConnections)
	for _, target := range []string{
		"https://www.example.com:" + port + "/", "https://127.0.0.1:" + port + "/", "http://example.com:" + port + "/", "//localhost:" + port + "/",
	} {
		require.ErrorIs(t, get(t, client, "https://example.com:"+port+"/?to="+url.QueryEscape(target)), netguard.ErrForbidden, target)
	}
	require.Zero(t, inside.Load())
}

// With AllowLoopback, a name below localhost may be reached over http; where it
// leads is the resolver's to say, and must be loopback.
func TestAllowLoopbackIsNotAllowHTTP(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	_, port, err := net.SplitHostPort(plain.Listener.Addr().String())
	require.NoError(t, err)
	names := new(zone)
	names.set("app.localhost", "127.0.0.1")
	client := client(netguard.Policy{AllowLoopback: true}, netguard.Names{Resolver: names.serve(t)})
	t.Cleanup(client.CloseIdleConnections)
	require.NoError(t, get(t, client, "http://app.localhost:"+port+"/"))
	client.CloseIdleConnections()
	for _, address := range []string{"8.8.8.8", "10.0.0.1", "0.0.0.0"} {
		names.set("app.localhost", address)
		require.ErrorIs(t, get(t, client, "http://app.localhost:"+port+"/"), netguard.ErrForbidden, address)
	}
	require.ErrorIs(t, get(t, client, "https://8.8.8.8:"+port+"/"), netguard.ErrForbidden, "only loopback may be on any port")
}

// proxyAddress is set for the child process of the test below.
const proxyAddress = "MCPOAUTH_TEST_PROXY"

// A proxy from the environment would be dialed in place of the address that is
// to be checked. net/http reads the environment once, hence another process.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Parallel()
	if os.Getenv(proxyAddress) != "" {
		names := new(zone)
		names.set("mcp.example", "10.0.0.1")
		client := client(netguard.Policy{AllowLoopback: true}, netguard.Names{Resolver: names.serve(t)})
		for _, url := range []string{"https://mcp.example/", "https://10.0.0.1/", "http://mcp.example/"} {
			require.ErrorIs(t, get(t, client, url), netguard.ErrForbidden, url)
		}
		return
	}
	var hits atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(proxy.Close)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironmentIsNotUsed$", "-test.count=1")
	child.Env = append(os.Environ(), proxyAddress+"="+proxy.URL)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		child.Env = append(child.Env, name+"="+proxy.URL)
	}
	child.Env = append(child.Env, "NO_PROXY=", "no_proxy=")
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Zero(t, hits.Load(), "the proxy was asked")
}
