package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// insideHost is an address inside the host's network. Users may neither reach it
// nor learn of it.
const insideHost = "169.254.169.254"

// requireForbidden says that the caller is told that the server cannot be used,
// and nothing of where it led.
func requireForbidden(t *testing.T, a answer) {
	t.Helper()
	require.Equal(t, http.StatusBadRequest, a.status, a.body)
	require.True(t, httpapi.IsConnectError(a.Response), a.body)
	require.Equal(t, httpapi.CodeForbiddenServerURL, a.ErrorResponse.Code)
	require.NotContains(t, a.body, insideHost)
	require.NotContains(t, a.body, "dial")
}

// A user names a server inside the host's network.
func TestConnectToAnAddressInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	for name, serverURL := range map[string]string{
		"cloud metadata":           "https://" + insideHost + "/latest/meta-data/",
		"cloud metadata, IPv6":     "https://[fd00:ec2::254]/latest/meta-data/",
		"cloud metadata, decimal":  "https://2852039166/latest/meta-data/",
		"cloud metadata, mapped":   "https://[::ffff:" + insideHost + "]/",
		"plain http":               "http://" + insideHost + "/",
		"private":                  "https://10.0.0.1/mcp",
		"CGNAT":                    "https://100.64.0.1/mcp",
		"this host":                "https://0.0.0.0/mcp",
		"NAT64":                    "https://[64:ff9b::a00:1]/mcp",
		"octal":                    "https://0177.0.0.01/mcp",
		"another service's port":   "https://mcp.example:6379/mcp",
		"http to a public address": "http://mcp.example/mcp",
	} {
		t.Run(name, func(t *testing.T) {
			requireForbidden(t, w.browser(t, "").connectTo(serverURL))
		})
	}
}

// A server that may be reached announces one that may not.
func TestServersThatPointInside(t *testing.T) {
	t.Parallel()
	const inside = "https://" + insideHost + "/latest/meta-data/"
	for name, aim := range map[string]func(*world){
		"resource metadata by redirect": func(w *world) {
			w.mcp.SetMetadataOutage(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, inside, http.StatusFound) })
		},
		"resource metadata of the challenge": func(w *world) {
			w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+inside+`"`)
				rw.WriteHeader(http.StatusUnauthorized)
			})
		},
		"authorization server": func(w *world) {
			w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{"https://" + insideHost}})
		},
		"registration endpoint": func(w *world) {
			w.as.SetEditMetadata(func(doc map[string]any) { doc["registration_endpoint"] = inside })
		},
		"authorization endpoint": func(w *world) {
			w.as.SetEditMetadata(func(doc map[string]any) { doc["authorization_endpoint"] = inside })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.replica(t)
			aim(w)
			requireForbidden(t, w.browser(t, "").connect())
		})
	}
}

// The token endpoint is used when the browser comes back.
func TestTokenEndpointThatPointsInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc["token_endpoint"] = "https://" + insideHost + "/token" }}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	for name, headers := range map[string][]string{"JSON": nil, "page": {"Accept", "text/html"}} {
		a := b.connect()
		done := b.send("GET", b.approve(a), "", headers...)
		require.Equal(t, http.StatusBadRequest, done.status, done.body)
		require.NotContains(t, done.body, insideHost, name)
		status := b.send("GET", pathStatus+"?sessionId="+a.AuthRequired.SessionID, "")
		require.NotContains(t, status.body, insideHost)
		require.Contains(t, status.body, `"failed"`)
	}
}

// A URL that a browser would run rather than visit goes no further.
func TestAuthorizationEndpointThatIsAScript(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{
		"javascript:alert(document.cookie)//", "JavaScript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd",
		"\tjavascript:alert(1)", "//as.example/authorize", "/authorize", "blob:https://as.example/1", "https:as.example", "http://as.example/authorize",
	} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc["authorization_endpoint"] = endpoint }}, mcptest.Options{})
			w.replica(t)
			a := w.browser(t, "").connect()
			require.True(t, a.status == http.StatusBadGateway || a.status == http.StatusBadRequest, a.body)
			require.True(t, httpapi.IsConnectError(a.Response), a.body)
			require.Nil(t, a.AuthRequired)
			require.NotContains(t, strings.ToLower(a.body), "script:")
		})
	}
}
