package main_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// Two servers on one Redis are one host, and Redis going away is no reason to
// stop.
func TestReplicasOnRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t, redistest.Options{})
	as := authtest.New(authtest.Options{})
	t.Cleanup(as.Close)
	srv := mcptest.New(mcptest.Options{Auth: as})
	t.Cleanup(srv.Close)
	env := []string{
		"MCPOAUTH_ALLOW_LOOPBACK=1", "PUBLIC_URL=http://localhost:3000", "REDIS_URL=" + redis.URL(),
		"MCPOAUTH_SEAL_KEYS=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("1"), 32)),
	}
	first, second := start(t, env...), start(t, env...)
	second.client.Jar = first.client.Jar // one browser: both are behind one name

	answer := first.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: srv.URL()})
	require.True(t, httpapi.IsConnectAuthRequired(answer), "%+v", answer)
	callback, err := as.Approve(t.Context(), answer.AuthRequired.AuthURL)
	require.NoError(t, err)
	back, err := url.Parse(callback)
	require.NoError(t, err)
	status, body := second.get(t, back.RequestURI())
	require.Equal(t, http.StatusOK, status, body)
	call := httpapi.CallToolRequest{SessionID: answer.AuthRequired.SessionID, ToolName: "echo"}
	require.True(t, httpapi.IsCallToolSuccess(first.post(t, "/tool/call", call)))

	redis.Kill()
	require.True(t, httpapi.IsCallToolSuccess(first.post(t, "/tool/call", call)), first.log.String())
}
