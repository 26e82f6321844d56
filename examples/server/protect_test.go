package main_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// One variable moves the limits, or takes them away.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	const path = "/api/mcp/auth/status?sessionId=x"
	for value, allowed := range map[string]int{"5": 5, "": 600, "0": 1500} {
		t.Run("limit "+value, func(t *testing.T) {
			t.Parallel()
			p := start(t, "MCPOAUTH_RATE_LIMIT="+value)
			first := time.Now().Truncate(time.Minute)
			for range allowed {
				status, body := p.get(t, path)
				require.Equal(t, http.StatusNotFound, status, body)
			}
			status, body := p.get(t, path)
			if value == "0" || !time.Now().Truncate(time.Minute).Equal(first) {
				return
			}
			require.Equal(t, http.StatusTooManyRequests, status)
			require.Contains(t, body, `"code":"rate_limited"`)
		})
	}
	t.Run("connects and callbacks too", func(t *testing.T) {
		t.Parallel()
		p := start(t, "MCPOAUTH_RATE_LIMIT=0")
		for range 100 {
			answer := p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: "https://10.0.0.1/mcp"})
			require.Equal(t, httpapi.CodeForbiddenServerURL, answer.ErrorResponse.Code)
			status, _ := p.get(t, "/api/mcp/auth/callback?state=x&code=y")
			require.Equal(t, http.StatusBadRequest, status)
		}
	})
}

// Only from a proxy that is configured is it believed whom it speaks for.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for _, trusted := range []string{"", "127.0.0.0/8, 10.0.0.0/8"} {
		p := start(t, "MCPOAUTH_RATE_LIMIT=1", "TRUSTED_PROXIES="+trusted)
		var statuses []int
		for i := range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.public+"/api/mcp/auth/status?sessionId=x", nil)
			require.NoError(t, err)
			req.Header.Set("X-Forwarded-For", fmt.Sprintf("8.8.8.%d", i+1))
			status, _ := p.do(t, req)
			statuses = append(statuses, status)
		}
		want := http.StatusTooManyRequests
		if trusted != "" {
			want = http.StatusNotFound
		}
		require.Equal(t, []int{http.StatusNotFound, want}, statuses, trusted)
	}
}

// Loopback is loopback: nothing else is let in with it.
func TestAllowLoopbackRelaxesNothingElse(t *testing.T) {
	t.Parallel()
	srv := mcptest.New(mcptest.Options{})
	t.Cleanup(srv.Close)
	p := start(t, "MCPOAUTH_ALLOW_LOOPBACK=1")
	require.True(t, httpapi.IsConnectSuccess(p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: srv.URL()})))
	for _, serverURL := range []string{
		"https://10.0.0.1/mcp", "https://172.16.0.1/mcp", "https://192.168.1.1/mcp", "https://100.64.0.1/mcp", "https://[fd00::1]/mcp",
		"https://169.254.169.254/latest/meta-data", "https://[fe80::1]/mcp", "https://0.0.0.0/mcp", "https://[::]/mcp",
		"http://10.0.0.1/mcp", "http://169.254.169.254/latest/meta-data", "http://192.0.2.1/mcp", "http://mcp.example.com/mcp",
	} {
		answer := p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: serverURL})
		require.True(t, httpapi.IsConnectError(answer), serverURL)
		require.Contains(t, []string{httpapi.CodeForbiddenServerURL, httpapi.CodeInvalidRequest}, answer.ErrorResponse.Code, serverURL)
	}
	// Redirects lead nowhere else either.
	away := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/", http.StatusTemporaryRedirect))
	t.Cleanup(away.Close)
	require.True(t, httpapi.IsConnectError(p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: away.URL})))

	// What protects the front end is as it was.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.public+"/api/mcp/auth/connect", strings.NewReader(`{}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "https://evil.example")
	status, _ := p.do(t, req)
	require.Equal(t, http.StatusForbidden, status)
	status, _ = p.get(t, "/api/mcp/auth/callback?state=x&code=y")
	require.Equal(t, http.StatusBadRequest, status)
}

// A client that sends too much of a header is sent away.
func TestOversizedHeader(t *testing.T) {
	t.Parallel()
	p := start(t)
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	go func() {
		_, _ = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 200<<10))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
}
