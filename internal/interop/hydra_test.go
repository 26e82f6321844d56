package interop_test

import (
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/ports"
)

var hydraListening = regexp.MustCompile(`Setting up http server on (127\.0\.0\.1:\d+)[\s\S]*Setting up http server on 127\.0\.0\.1:\d+`)

// hydra starts Ory Hydra in memory, with clients that register themselves. It
// knows no resources: tokens have no audience. Its forms are a program of the
// deployment's own, here [hydraForms].
func hydra(t *testing.T, how string, env ...string) *stack {
	t.Helper()
	server := newWire(t)
	admin := newWire(t)
	forms := newHydraForms(t, admin.url)
	start := func() *process {
		publicPort, adminPort := freePort(t), freePort(t)
		cmd := exec.Command(filepath.Join("..", "..", ".tools", "interop", "hydra"), "serve", "all", "--dev", "--sqa-opt-out")
		cmd.Env = append(env,
			"DSN=memory", "SECRETS_SYSTEM=a system secret for tests", "TTL_ACCESS_TOKEN=10s", "OIDC_DYNAMIC_CLIENT_REGISTRATION_ENABLED=true",
			"SERVE_PUBLIC_HOST=127.0.0.1", "SERVE_PUBLIC_PORT="+publicPort, "SERVE_ADMIN_HOST=127.0.0.1", "SERVE_ADMIN_PORT="+adminPort,
			"WEBFINGER_OIDC_DISCOVERY_CLIENT_REGISTRATION_URL="+server.url+"/oauth2/register",
			"URLS_SELF_ISSUER="+server.url, "URLS_LOGIN="+forms+"/login", "URLS_CONSENT="+forms+"/consent",
		)
		p := run(t, cmd, hydraListening)
		awaitKeys(t, "http://127.0.0.1:"+publicPort)
		server.forward("http://127.0.0.1:" + publicPort)
		admin.forward("http://127.0.0.1:" + adminPort)
		return p
	}
	running := start()
	srv := newMCPServer(t, server.url, introspection(t, admin.url+"/admin/oauth2/introspect", "", ""), func(o *mcptest.Options) {
		o.SkipAudienceCheck = true
	})
	return &stack{
		name: "hydra " + moduleVersion(t, filepath.Join("hydra", "go.mod"), "github.com/ory/hydra/v2") + ", " + how, server: server,
		mcpURL: srv.URL(), resource: srv.URL(), registrationURL: server.url + "/oauth2/register", reject: func(string) { srv.RejectNext(1) },
		restart: func() {
			running.stop()
			running = start()
		},
		form:   url.Values{"subject": {"alice"}},
		denial: url.Values{"subject": {"alice"}, "decision": {"deny"}},
		whoami: "whoami", want: "alice", admin: "admin", scope: adminScope,
		expires: true, registers: true,
	}
}

// awaitKeys waits until Hydra has its keys. It makes them for the first request,
// which it cuts off after 10 seconds: on a busy machine that is not enough.
func awaitKeys(t *testing.T, hydra string) {
	t.Helper()
	ready := func() bool {
		resp, err := http.Get(hydra + "/.well-known/openid-configuration")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	require.Eventually(t, ready, startTimeout, 100*time.Millisecond, "it makes no keys")
}

// freePort returns a port for Hydra to listen on.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := ports.Free()
	require.NoError(t, err)
	return strconv.Itoa(port)
}

// A deployment that gives its scopes to every client that registers.
func TestHydraDefaultScopes(t *testing.T) {
	t.Parallel()
	s := hydra(t, "default scopes", "OIDC_DYNAMIC_CLIENT_REGISTRATION_DEFAULT_SCOPE=tools,admin,offline_access")
	s.journey(t, exampleServer(t, settings{}))
}

// By default, a client may ask for the scopes that it has registered.
func TestHydraRegisteredScopes(t *testing.T) {
	t.Parallel()
	s := hydra(t, "registered scopes")
	s.journey(t, exampleServer(t, settings{}))
}
