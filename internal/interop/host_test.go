package interop_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/testlog"
)

// host is a running host, and the front end of one user.
type host struct {
	*wire
	public string // the URL that browsers use
	log    *testlog.Buffer
	user   *user
}

// callback is the redirect URI.
func (h *host) callback() string { return h.public + "/api/mcp/auth/callback" }

// published is a transport that finds a public origin at another URL, as a
// reverse proxy with a certificate makes it be.
type published struct {
	public, at string
}

// RoundTrip implements [http.RoundTripper].
func (p published) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme+"://"+req.URL.Host != p.public {
		return http.DefaultTransport.RoundTrip(req)
	}
	inside := req.Clone(req.Context())
	at, err := url.Parse(p.at)
	if err != nil {
		return nil, err
	}
	inside.URL.Scheme, inside.URL.Host = at.Scheme, at.Host
	resp, err := http.DefaultTransport.RoundTrip(inside)
	if err == nil {
		resp.Request = req // whose URL the redirects are relative to
	}
	return resp, err
}

var serverListening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// settings are what a host sets beside the defaults of examples/server.
type settings struct {
	public string         // the URL that browsers use; empty for that of the wire
	config map[string]any // the file that MCPOAUTH_CONFIG names
}

// documentPath is where a host publishes its Client ID Metadata Document.
const documentPath = "/api/mcp/client-metadata.json"

// documented is a host with a public origin, whose client is a document there.
var documented = settings{
	public: "https://app.example.com",
	config: map[string]any{"clientMetadataUrl": "https://app.example.com" + documentPath},
}

// exampleServer runs examples/server.
func exampleServer(t *testing.T, s settings) *host {
	t.Helper()
	config, err := json.Marshal(s.config)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, config, 0o600))
	w := newWire(t)
	public := cmp.Or(s.public, w.url)
	cmd := exec.Command(filepath.Join(binaries, "server"))
	cmd.Env = []string{"ADDR=127.0.0.1:0", "PUBLIC_URL=" + public, "MCPOAUTH_ALLOW_LOOPBACK=1", "MCPOAUTH_CONFIG=" + file, "LOG_LEVEL=debug"}
	server := run(t, cmd, serverListening)
	w.forward("http://" + server.address)
	u := newUser(t)
	u.client.Transport = published{public: public, at: w.url}
	return &host{wire: w, public: public, log: server.output, user: u}
}
