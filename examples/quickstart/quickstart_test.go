package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
)

func TestJourney(t *testing.T) {
	t.Parallel()
	w := startWorld(t)
	var out bytes.Buffer
	j := newJourney(w, newNarrator(&out))
	require.NoError(t, j.run(t.Context()))
	requireInOrder(t, out.String(),
		"1. Connect", "POST /api/mcp/auth/connect", "server/discover", "401 Unauthorized", "WWW-Authenticate", `scope="tools"`,
		"GET /.well-known/oauth-protected-resource/mcp", "authorization_servers", w.auth.Issuer(),
		"GET /.well-known/oauth-authorization-server", "code_challenge_methods_supported  S256",
		"POST /register", "201 Created", "401 Unauthorized", "requiresAuth", "authUrl", "Set-Cookie", "HttpOnly",
		"2. Authorize", "GET /authorize", "resource", w.mcp.URL(), "tools offline_access", "code_challenge_method", "S256", "302 Found",
		"3. Callback", "GET /api/mcp/auth/callback", "iss", w.auth.Issuer(), "POST /token", "code_verifier", "refresh_token",
		"initialize", "Mcp-Session-Id", "Connected", "connected",
		"4. List", "GET /api/mcp/tool/list", "tools/list", "add, admin, echo",
		"5. Call", "POST /api/mcp/tool/call", "tools/call", `{"sum":42}`,
		"6. Disconnect", "DELETE /mcp", "204 No Content", "POST /revoke", "refresh_token", "POST /revoke", "Disconnected successfully", "404 Not Found",
		"All as expected: 6 steps",
	)
	require.NotContains(t, out.String(), "\x1b", "colours are for terminals")
	require.NotContains(t, out.String(), "unknown")
	requireNoSecrets(t, j, out.String())
}

func TestJourneyThatFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sabotage func(*world)
		want     string
	}{
		"MCP server is down":         {func(w *world) { w.mcp.Close() }, "step 1 (connect): want HTTP status [401], got 50"},
		"MCP server is open":         {func(w *world) { w.mcp.SetOutage(func(http.ResponseWriter, *http.Request) {}) }, "step 1 (connect): "},
		"no registration":            {func(w *world) { w.auth.FailNext(authtest.EndpointRegister, 9, http.StatusForbidden) }, "step 1 (connect): want HTTP status [401]"},
		"user says no":               {func(w *world) { w.auth.DenyNext(1) }, "step 2 (authorize): the consent page: "},
		"authorization page is away": {func(w *world) { w.auth.FailNext(authtest.EndpointAuthorize, 9, http.StatusServiceUnavailable) }, "step 2 (authorize): the consent page: "},
		"no tokens":                  {func(w *world) { w.auth.FailNext(authtest.EndpointToken, 9, http.StatusBadRequest) }, "step 3 (callback): "},
		"browser loses its cookies":  {func(w *world) { w.browser.Jar = nil }, "step 3 (callback): want HTTP status [200], got 400"},
		"tools are away": {func(w *world) { w.mcp.FailNextRPC("tools/list", 9, http.StatusServiceUnavailable, 0) },
			"step 4 (list): want HTTP status [200], got 50"},
		"tool fails": {func(w *world) { w.mcp.FailNextRPC("tools/call", 9, http.StatusServiceUnavailable, 0) }, "step 5 (call): "},
		"tokens are not revoked": {func(w *world) { w.auth.FailNext(authtest.EndpointRevoke, 9, http.StatusServiceUnavailable) },
			"step 6 (disconnect): the access token is still good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWorld(t)
			tc.sabotage(w)
			var out bytes.Buffer
			j := newJourney(w, newNarrator(&out))
			err := j.run(t.Context())
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, out.String(), "All as expected")
			requireNoSecrets(t, j, out.String()+err.Error())
		})
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"journey":       {nil, 0, "All as expected", ""},
		"help":          {[]string{"-help"}, 0, "", "-serve"},
		"unknown flag":  {[]string{"-sevre"}, 2, "", "-sevre"},
		"stray operand": {[]string{"serve"}, 2, "", `unexpected argument "serve"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			require.Equal(t, tc.code, run(t.Context(), tc.args, &stdout, &stderr), stderr.String())
			require.Contains(t, stdout.String(), tc.stdout)
			require.Contains(t, stderr.String(), tc.stderr)
		})
	}
}

func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	require.Equal(t, 1, run(ctx, nil, io.Discard, &stderr))
	require.Equal(t, "quickstart: step 1 (connect): context canceled\n", stderr.String())
}

// TestServe pastes the commands that -serve prints into a shell.
func TestServe(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs curl")
		}
		t.Skip("this test needs curl")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out testlog.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"-serve"}, &out, &out) }()
	const last = "What the host does"
	require.Eventually(t, func() bool { return strings.Contains(out.String(), last) }, 30*time.Second, 10*time.Millisecond)

	begin, end := strings.Index(out.String(), `cd "$(mktemp -d)"`), strings.Index(out.String(), last)
	script := "set -e\n" + out.String()[begin:end]
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	answers, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", answers)
	requireInOrder(t, string(answers),
		`"requiresAuth":true`, `"message":"Authorization completed"`, `"tools":[`, `"sum":42`, `"requiresAuth":true`, "admin", `"message":"Disconnected successfully"`)

	_, rest, _ := strings.Cut(out.String(), "In a browser, open ")
	page, err := http.Get(rest[:strings.Index(rest, ",")])
	require.NoError(t, err)
	defer page.Body.Close()
	html, err := io.ReadAll(page.Body)
	require.NoError(t, err)
	require.Contains(t, string(html), `const serverUrl = "http:`)

	require.Eventually(t, func() bool { return strings.Count(out.String(), "POST /revoke") == 2 }, 30*time.Second, 10*time.Millisecond)
	stop()
	select {
	case got := <-code:
		require.Zero(t, got)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
	requireInOrder(t, out.String(), last, "server/discover", "POST /register", "POST /token", "tools/list", "tools/call", "403 Forbidden", "DELETE /mcp", "Stopped.")
}

func TestSafeShowsNoSecret(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ field, value, want string }{
		"no secret":        {"client_id", "client-1234567890", "client-1234567890"},
		"secret":           {"state", "ABCDEFGHIJKLMNOP", "ABCDEF…"},
		"short secret":     {"code", "123456", "…"},
		"bearer":           {"Authorization", "Bearer ABCDEFGHIJKLMNOP", "Bearer ABCDEF…"},
		"set a cookie":     {"Set-Cookie", "c=ABCDEFGHIJKLMNOP; Path=/", "c=ABCDEF…; Path=/"},
		"send a cookie":    {"Cookie", "c=ABCDEFGHIJKLMNOP", "c=ABCDEF…"},
		"URL":              {"authUrl", "https://as.example/a?state=ABCDEFGHIJKLMNOP", "https://as.example/a?…"},
		"URL without more": {"Location", "https://as.example/a", "https://as.example/a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, safe(tc.field, tc.value))
		})
	}
}

func startWorld(t *testing.T) *world {
	t.Helper()
	w, err := newWorld()
	require.NoError(t, err)
	t.Cleanup(w.close)
	return w
}

// requireInOrder checks that a text has all parts, one after the other.
func requireInOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		require.True(t, found, "%q is missing after what came before it, in:\n%s", part, text)
		rest = after
	}
}

// requireNoSecrets checks that a text has none of the secrets of a journey, of
// which the test servers know.
func requireNoSecrets(t *testing.T, j *journey, text string) {
	t.Helper()
	found := []string{j.sessionID, j.authURL, j.callbackURL}
	for _, raw := range []string{j.authURL, j.callbackURL} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		found = append(found, u.Query().Get("state"), u.Query().Get("code"), u.Query().Get("code_challenge"))
	}
	if jar := j.world.browser.Jar; jar != nil {
		u, err := url.Parse(j.world.hostURL)
		require.NoError(t, err)
		for _, cookie := range jar.Cookies(u) {
			found = append(found, cookie.Value)
		}
	}
	for _, c := range j.world.auth.Clients() {
		found = append(found, c.Secret, base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret)))
	}
	for _, r := range j.world.auth.Requests("") {
		found = append(found, r.Get("code_verifier"), r.Get("token"), strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
	}
	for _, r := range j.world.mcp.Requests() {
		found = append(found, r.Token, r.Header.Get("Mcp-Session-Id"))
	}
	for _, secret := range found {
		if secret != "" {
			require.NotContains(t, text, secret)
		}
	}
}
