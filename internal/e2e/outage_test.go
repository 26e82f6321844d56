package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// hostPage opens a window for an authorization, and shows what the window tells.
const hostPage = `<!doctype html><title>Host</title><link rel="icon" href="data:,">
<button>Connect</button><p></p>
<script>
new BroadcastChannel("mcpoauth").onmessage = (event) => { document.querySelector("p").textContent = "It says " + event.data.status; };
document.querySelector("button").onclick = async () => {
  const popup = window.open("about:blank");
  const response = await fetch("/api/mcp/auth/connect", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ serverUrl: %q }) });
  popup.location = (await response.json()).authUrl;
};
</script>`

// hostOnRedis serves hostPage and the endpoints, on a store in Redis.
func hostOnRedis(t *testing.T, redisURL, serverURL string) (url string) {
	t.Helper()
	records, err := hybridstore.New(t.Context(), hybridstore.Config{Redis: redisstore.Config{URL: redisURL}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(records.Close)
	cfg := session.Config{Store: records, SealKeys: [][]byte{bytes.Repeat([]byte("k"), 32)}}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })

	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	url = "http://" + server.Listener.Addr().String()
	api, err := httpapi.New(manager, httpapi.Config{PublicURL: url})
	require.NoError(t, err)
	mux.Handle("/api/mcp/", api)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, fmt.Sprintf(hostPage, serverURL))
	})
	server.Start()
	t.Cleanup(server.Close)
	return url
}

// TestCallbackDuringAnOutage: Redis is away when the user comes back from the
// authorization server. The page waits, spends nothing, and ends well by itself
// when Redis is back.
func TestCallbackDuringAnOutage(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t, redistest.Options{Persist: true})
	auth := authtest.New(authtest.Options{Consent: true})
	t.Cleanup(auth.Close)
	mcp := mcptest.New(mcptest.Options{Auth: auth})
	t.Cleanup(mcp.Close)
	url := hostOnRedis(t, redis.URL(), mcp.URL())

	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := newPage(ctx, t)
	p.do(chromedp.Navigate(url))
	p.click("Connect")
	popup := p.popup(auth.URL())
	popup.see("Approve")

	redis.Kill()
	popup.click("Approve")
	popup.see("This page tries again by itself. Keep it open.")
	// The page is loaded again while it waits.
	popup.script("window.first = true")
	popup.until("window.first === undefined")
	popup.see("This page tries again by itself. Keep it open.")
	require.Zero(t, auth.Counts().Exchanges)
	require.Equal(t, "", eval[string](p, "return document.querySelector('p').textContent"), "nothing has ended yet")

	require.NoError(t, redis.Restart())
	// After up to 2 s each for the store and for the page, and 3 s without locks.
	require.Eventually(t, func() bool {
		return eval[string](p, "return document.querySelector('p').textContent") == "It says connected"
	}, 3*patience, interval)
	p.alone(1)
	require.Equal(t, 1, auth.Counts().Authorizations)
	require.Equal(t, 1, auth.Counts().Exchanges)
	require.Empty(t, p.takeProblems(), "in the console")
}
