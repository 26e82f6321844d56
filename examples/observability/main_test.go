package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

func send(t *testing.T, client *http.Client, method, target, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// After a journey Prometheus finds every metric that the dashboard shows.
func TestDashboardShowsWhatIsExported(t *testing.T) {
	t.Parallel()
	as := authtest.New(authtest.Options{})
	t.Cleanup(as.Close)
	mcp := mcptest.New(mcptest.Options{Auth: as})
	t.Cleanup(mcp.Close)
	mux := http.NewServeMux()
	host := httptest.NewServer(mux)
	t.Cleanup(host.Close)
	cfg := session.Config{Store: memstore.New(memstore.Config{}), Audit: audit}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	handler, closeHost, err := newHost(cfg, host.URL, func() bool { return true })
	require.NoError(t, err)
	t.Cleanup(closeHost)
	mux.Handle("/", handler)

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar}
	status, body := send(t, client, "POST", host.URL+"/api/mcp/auth/connect", `{"serverUrl":"`+mcp.URL()+`"}`)
	require.Equal(t, 401, status, body)
	var asked struct{ AuthURL, SessionID string }
	require.NoError(t, json.Unmarshal([]byte(body), &asked))
	callback, err := as.Approve(t.Context(), asked.AuthURL)
	require.NoError(t, err)
	status, body = send(t, client, "GET", callback, "")
	require.Equal(t, 200, status, body)
	call := `{"sessionId":"` + asked.SessionID + `","toolName":"echo","toolArgs":{}}`
	status, body = send(t, client, "POST", host.URL+"/api/mcp/tool/call", call)
	require.Equal(t, 200, status, body)
	as.ExpireAccessTokens()
	status, body = send(t, client, "POST", host.URL+"/api/mcp/tool/call", call)
	require.Equal(t, 200, status, body)

	_, metrics := send(t, client, "GET", host.URL+"/metrics", "")
	require.NotContains(t, metrics, asked.SessionID[:26])
	dashboard, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var d struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(dashboard, &d))
	name := regexp.MustCompile(`\b(mcp_client|mcpoauth)_[a-z_]+(_bucket|_count|_total|_requests|_ratio)\b`)
	label := regexp.MustCompile(`by \(([a-z_, ]+)\)`)
	require.NotEmpty(t, d.Panels)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			names := name.FindAllString(target.Expr, -1)
			require.NotEmpty(t, names, target.Expr)
			for _, name := range names {
				if name != "mcpoauth_session_cache_misses_total" { // a cache of its own that saw every record
					require.Contains(t, metrics, "\n"+name+"{", target.Expr)
				}
			}
			for _, labels := range label.FindAllStringSubmatch(target.Expr, -1) {
				for l := range strings.SplitSeq(labels[1], ", ") {
					require.Contains(t, metrics, l+`="`, target.Expr)
				}
			}
		}
	}
}
