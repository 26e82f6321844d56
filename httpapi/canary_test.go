package httpapi_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/session"
)

// Everything secret that any party saw is looked for in everything that all
// layers logged, as text and as JSON, and in every answer that had no
// business to contain it.
func TestSecrets_AreInNoLogAndNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AuthMethods: []string{authtest.AuthPost}}, mcptest.Options{Stateful: true})
	jsonLog := new(testlog.Buffer)
	w.replica(t, byHeader, func(c *session.Config) {
		c.Logger = bothLogs(w.log, jsonLog)
		c.SealKeys = [][]byte{bytes.Repeat([]byte{1}, 32)}
	},
		func(c *httpapi.Config) { c.Logger = bothLogs(w.log, jsonLog) })
	alice := w.browser(t, "alice")
	var answers []string
	var ids []string
	see := func(a answer) answer {
		if a.AuthRequired == nil { // which has to have the session ID and the state
			answers = append(answers, a.body)
		}
		return a
	}

	// The happy path, a step-up, a refresh, and a renewal after a 401.
	id := alice.authorized()
	ids = append(ids, id)
	see(alice.list(id))
	see(alice.send(http.MethodGet, alice.approve(alice.call(id, "admin", `{}`)), ""))
	see(alice.call(id, "admin", `{}`))
	w.as.ExpireAccessTokens()
	require.Equal(t, 200, see(alice.call(id, "add", `{"a":1,"b":2}`)).status)

	// Failures: denial, replay, forged and foreign callbacks, outages of either
	// server with bodies that echo, revocation, a dead client, a lost session.
	denied := alice.connect()
	ids = append(ids, denied.AuthRequired.SessionID)
	refusal, err := w.as.Deny(t.Context(), denied.AuthRequired.AuthURL)
	require.NoError(t, err)
	see(alice.send(http.MethodGet, refusal, ""))
	see(alice.send(http.MethodGet, refusal, ""))
	stolen := alice.connect()
	ids = append(ids, stolen.AuthRequired.SessionID)
	see(w.browser(t, "mallory").send(http.MethodGet, alice.approve(stolen), ""))
	echo := func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		rw.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(rw).Encode(map[string]string{"error": "server_error", "error_description": r.Form.Encode() + r.Form.Get("refresh_token") + r.Form.Get("code")})
	}
	w.as.SetOutage(authtest.EndpointToken, echo)
	failed := alice.connect()
	ids = append(ids, failed.AuthRequired.SessionID)
	see(alice.send(http.MethodGet, alice.approve(failed), ""))
	w.as.ExpireAccessTokens()
	see(alice.call(id, "echo", `{}`))
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.mcp.KillSessions()
	w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusTeapot)
		_, _ = rw.Write([]byte(r.Header.Get("Authorization")))
	})
	see(alice.call(id, "echo", `{}`))
	w.mcp.SetOutage(nil)
	w.as.RevokeAll()
	w.as.DropClients()
	require.Equal(t, 401, alice.call(id, "echo", `{}`).status)
	see(alice.send(http.MethodPost, pathDisconnect, `{"sessionId":"`+id+`"}`))
	see(alice.call(id, "echo", `{}`))

	secrets := secretsSeen(w)
	require.Greater(t, len(secrets), 15)
	for _, id := range ids {
		secrets = append(secrets, id, id[len(id)/2:])
	}
	require.NotEmpty(t, w.log.String())
	require.NotEmpty(t, jsonLog.String())
	for _, secret := range secrets {
		require.NotContains(t, w.log.String(), secret)
		require.NotContains(t, jsonLog.String(), secret)
		for _, body := range answers {
			require.NotContains(t, body, secret)
		}
	}
}

// bothLogs logs everything twice.
func bothLogs(text, json *testlog.Buffer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(text, options), slog.NewJSONHandler(json, options)))
}

// secretsSeen collects what the two servers were sent or have issued.
func secretsSeen(w *world) (secrets []string) {
	add := func(values ...string) {
		for _, v := range values {
			if len(v) >= 8 {
				secrets = append(secrets, v, url.QueryEscape(v))
			}
		}
	}
	for _, r := range w.as.Requests("") {
		for _, name := range []string{"state", "code", "code_verifier", "refresh_token", "token", "client_secret"} {
			add(r.Query.Get(name), r.Form.Get(name))
		}
	}
	for _, client := range w.as.Clients() {
		add(client.Secret)
	}
	add(w.mcp.Tokens()...)
	for _, r := range w.mcp.Requests() {
		add(r.Header.Get("Mcp-Session-Id"))
	}
	return secrets
}
