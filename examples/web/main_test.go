package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/testlog"
)

func TestRun(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = busy.Close() })
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"help":          {[]string{"-help"}, 0, "-open"},
		"unknown flag":  {[]string{"-opne"}, 2, "-opne"},
		"stray operand": {[]string{"open"}, 2, `unexpected argument "open"`},
		"no port":       {[]string{"-addr=localhost"}, 1, "web: -addr: "},
		"port in use":   {[]string{"-open=false", "-addr=" + busy.Addr().String()}, 1, "address already in use"},
		"no public URL": {[]string{"-open=false", "-addr=:0"}, 1, "PublicURL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			require.Equal(t, tc.code, run(t.Context(), tc.args, io.Discard, &stderr))
			require.Contains(t, stderr.String(), tc.stderr)
		})
	}
}

// TestServe starts it, looks at what a browser would get, and stops it.
func TestServe(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out testlog.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"-open=false", "-addr=localhost:0"}, &out, &out) }()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "Slow") }, 30*time.Second, 5*time.Millisecond)
	base := regexp.MustCompile(`http://localhost:\d+/`).FindString(out.String())
	require.NotEmpty(t, base)

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar}
	get := func(path string, status int) (http.Header, []byte) {
		t.Helper()
		resp, err := browser.Get(base + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, status, resp.StatusCode, path)
		return resp.Header, body
	}
	get("api/mcp/auth/sessions", http.StatusUnauthorized) // before the page has signed the browser in
	header, index := get("", http.StatusOK)
	require.NotContains(t, header.Get("Content-Security-Policy"), "unsafe")
	require.Contains(t, header.Get("Set-Cookie"), "HttpOnly; SameSite=Lax")
	require.NotRegexp(t, `<script>|<style|\son\w+=|\sstyle=`, string(index), "the policy would block it")
	for _, loaded := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllSubmatch(index, -1) {
		get(string(loaded[1]), http.StatusOK)
	}
	get("nothing", http.StatusNotFound)

	_, body := get("presets.json", http.StatusOK)
	var presets []preset
	require.NoError(t, json.Unmarshal(body, &presets))
	require.Len(t, presets, 4)
	resp, err := browser.Post(base+"api/mcp/auth/connect", "application/json", bytes.NewReader([]byte(`{"serverUrl":"`+presets[0].URL+`"}`)))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode, "the open server")
	_, sessions := get("api/mcp/auth/sessions", http.StatusOK)
	require.Contains(t, string(sessions), presets[0].URL)

	// Another user has none.
	u, err := url.Parse(base)
	require.NoError(t, err)
	jar.SetCookies(u, []*http.Cookie{{Name: userCookie, Value: "mallory"}})
	_, sessions = get("api/mcp/auth/sessions", http.StatusOK)
	require.JSONEq(t, `{"sessions":[]}`, string(sessions))

	stop()
	select {
	case got := <-code:
		require.Zero(t, got, out.String())
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
}
