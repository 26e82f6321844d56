package main_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/pgtest"
)

// A file is all that a session needs to survive a restart, and an authorization
// that its user has not finished yet.
func TestRestartOnSQLite(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"in good order": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := authtest.New(authtest.Options{})
			t.Cleanup(as.Close)
			srv := mcptest.New(mcptest.Options{Auth: as})
			t.Cleanup(srv.Close)
			env := databaseEnv("sqlite:" + filepath.Join(t.TempDir(), "50% of sessions?.db"))
			first := start(t, env...)
			connected := connect(t, first, srv)
			finish(t, as, first, connected)
			waiting := connect(t, first, srv)
			require.NoError(t, first.cmd.Process.Signal(signal))
			err := first.wait(t)
			require.Equal(t, signal == syscall.SIGTERM, err == nil, "%v", err)

			second := start(t, env...)
			second.client.Jar = first.client.Jar
			call := httpapi.CallToolRequest{SessionID: connected.SessionID, ToolName: "echo"}
			require.True(t, httpapi.IsCallToolSuccess(second.post(t, "/tool/call", call)), second.log)
			finish(t, as, second, waiting)
			call.SessionID = waiting.SessionID
			require.True(t, httpapi.IsCallToolSuccess(second.post(t, "/tool/call", call)), second.log)
		})
	}
}

// Two servers on one PostgreSQL are one host.
func TestReplicasOnPostgres(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Run(t, pgtest.Options{})
	as := authtest.New(authtest.Options{})
	t.Cleanup(as.Close)
	srv := mcptest.New(mcptest.Options{Auth: as})
	t.Cleanup(srv.Close)
	env := databaseEnv(postgres.URL())
	first, second := start(t, env...), start(t, env...)
	second.client.Jar = first.client.Jar // one browser: both are behind one name

	answer := connect(t, first, srv)
	finish(t, as, second, answer)
	call := httpapi.CallToolRequest{SessionID: answer.SessionID, ToolName: "echo"}
	require.True(t, httpapi.IsCallToolSuccess(first.post(t, "/tool/call", call)))
	require.NoError(t, postgres.Restart())
	require.True(t, httpapi.IsCallToolSuccess(first.post(t, "/tool/call", call)), first.log)
}

func databaseEnv(address string) []string {
	return []string{
		"MCPOAUTH_ALLOW_LOOPBACK=1", "PUBLIC_URL=http://localhost:3000", "DATABASE_URL=" + address,
		"MCPOAUTH_SEAL_KEYS=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("1"), 32)),
	}
}

// connect begins a session.
func connect(t *testing.T, p *process, srv *mcptest.Server) *httpapi.AuthRequired {
	t.Helper()
	answer := p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: srv.URL()})
	require.True(t, httpapi.IsConnectAuthRequired(answer), "%+v\n%s", answer, p.log)
	return answer.AuthRequired
}

// finish authorizes a session and brings the browser back.
func finish(t *testing.T, as *authtest.Server, p *process, begun *httpapi.AuthRequired) {
	t.Helper()
	callback, err := as.Approve(t.Context(), begun.AuthURL)
	require.NoError(t, err)
	back, err := url.Parse(callback)
	require.NoError(t, err)
	status, body := p.get(t, back.RequestURI())
	require.Equal(t, http.StatusOK, status, body)
}
