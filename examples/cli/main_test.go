package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-demo"}, &out))
	require.Equal(t, 2, bytes.Count(out.Bytes(), []byte("the user approves")), "at first, and for the scope admin")
	require.Contains(t, out.String(), "whoami")
	require.Contains(t, out.String(), `admin: {"`)
	require.Contains(t, out.String(), "done as admin")
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"none":              {nil, "usage: "},
		"too many":          {[]string{"https://mcp.example.com", "tool", "{}", "more"}, "usage: "},
		"not a URL":         {[]string{"mcp.example.com"}, "Config.ServerURL: must be an absolute"},
		"a private address": {[]string{"https://10.0.0.1/mcp"}, oauthclient.ErrForbiddenAddress.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, run(t.Context(), tc.args, io.Discard), tc.want)
		})
	}
}

// What has no fitting state neither ends the wait nor gets anything.
func TestForgedCallbacksDoNotDisturb(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	var out bytes.Buffer
	a := newApp(&out)
	a.open = func(ctx context.Context, authURL string) error {
		u, err := url.Parse(authURL)
		require.NoError(t, err)
		redirect := u.Query().Get("redirect_uri")
		for forged, status := range map[string]int{
			redirect + "?code=stolen&state=guessed": http.StatusBadRequest,
			redirect + "?error=access_denied":       http.StatusBadRequest,
			redirect + "/other":                     http.StatusNotFound,
		} {
			require.Equal(t, status, visit(t, forged))
		}
		callback, err := oauthtest.Browser{}.Approve(ctx, authURL)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, visit(t, callback))
		require.Equal(t, http.StatusBadRequest, visit(t, callback), "once is enough")
		return nil
	}
	require.NoError(t, a.run(t.Context(), config(server), "add", `{"a":2,"b":40}`))
	require.Contains(t, out.String(), `"sum":42`)
}

func TestDenied(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	a := newApp(io.Discard)
	a.open = func(ctx context.Context, authURL string) error {
		callback, err := oauthtest.Browser{}.Deny(ctx, authURL)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, visit(t, callback))
		return nil
	}
	err := a.run(t.Context(), config(server), "", "")
	denied, ok := errors.AsType[*oauthclient.AuthorizationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "access_denied", denied.Code)
}

// A machine without a browser shows the URL, to be opened elsewhere.
func TestNoBrowser(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	a := newApp(&out)
	a.open = func(context.Context, string) error {
		cancel() // no answer will come from the browser
		return errors.New("no display")
	}
	require.ErrorIs(t, a.run(ctx, config(server), "", ""), context.Canceled)
	require.Contains(t, out.String(), "/authorize?")
}

func newApp(out io.Writer) *app { return &app{out: out, results: make(chan error, 1)} }

func newServer(t *testing.T) *oauthtest.MCPServer {
	t.Helper()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	t.Cleanup(auth.Close)
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	t.Cleanup(server.Close)
	return server
}

func config(server *oauthtest.MCPServer) oauthclient.Config {
	return oauthclient.Config{
		ServerURL: server.URL(),
		Shared:    oauthclient.Shared{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})},
	}
}

func visit(t *testing.T, url string) (status int) {
	t.Helper()
	page, err := oauthtest.Browser{}.Open(t.Context(), url)
	require.NoError(t, err)
	return page.StatusCode
}
