package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-demo"}, nil, &out))
	rest := out.String()
	for _, want := range []string{
		"user: add", "I need your permission for add", "approves", "bot:  add: 42",
		"user: admin", "I need your permission for admin", "user: whoami", "bot:  whoami: alice", "approves", "bot:  admin: done as admin",
	} {
		_, after, found := strings.Cut(rest, want)
		require.True(t, found, "%q is missing, or too early, in:\n%s", want, out.String())
		rest = after
	}
	require.NotContains(t, out.String(), "state=")
}

// Every call that waited is made, once, when the user comes back, also if the
// user was asked in between a second time and opens the first link.
func TestAllWaitingCallsResume(t *testing.T) {
	t.Parallel()
	server, a, messages := newAgent(t)
	links := make([]string, 0, 2)
	for _, message := range []string{`add {"a":1,"b":1}`, `add {"a":2,"b":2}`} {
		a.hear(t.Context(), message)
		links = append(links, link(t, next(t, messages)))
	}
	require.NoError(t, oauthtest.Browser{}.Authorize(t.Context(), links[0]))
	require.ElementsMatch(t, []string{"add: 2", "add: 4"}, []string{next(t, messages), next(t, messages)})
	require.Equal(t, 2, server.Executed("add"))
}

// A user who says no gets no result, and can be asked again.
func TestDenied(t *testing.T) {
	t.Parallel()
	server, a, messages := newAgent(t)
	a.hear(t.Context(), "whoami")
	callback, err := oauthtest.Browser{}.Deny(t.Context(), link(t, next(t, messages)))
	require.NoError(t, err)
	page, err := oauthtest.Browser{}.Open(t.Context(), callback)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, page.StatusCode)
	require.Zero(t, server.Executed("whoami"))
	require.Contains(t, next(t, messages), "I give up on whoami: ")

	a.hear(t.Context(), "whoami")
	require.NoError(t, oauthtest.Browser{}.Authorize(t.Context(), link(t, next(t, messages))))
	require.Equal(t, "whoami: alice", next(t, messages))
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, run(t.Context(), nil, nil, io.Discard), "usage: ")
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"https://10.0.0.1/mcp"}, strings.NewReader("\nadd 2 3\nadd\n"), &out))
	require.Equal(t, "bot: The arguments are not JSON.\nbot: add did not work: ", out.String()[:strings.LastIndex(out.String(), "work: ")+6])
	require.Contains(t, out.String(), oauthclient.ErrForbiddenAddress.Error())
}

func newAgent(t *testing.T) (*oauthtest.MCPServer, *agent, chan string) {
	t.Helper()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	t.Cleanup(auth.Close)
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	t.Cleanup(server.Close)
	messages := make(chan string, 8)
	a, stop, err := start(server.URL(), oauthclient.NetworkPolicy{AllowLoopback: true}, func(text string) { messages <- text })
	require.NoError(t, err)
	t.Cleanup(stop)
	return server, a, messages
}

func next(t *testing.T, messages <-chan string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case text := <-messages:
		return text
	case <-ctx.Done():
		t.Fatal("the bot is silent")
		return ""
	}
}

func link(t *testing.T, message string) string {
	t.Helper()
	at := strings.Index(message, "http")
	require.GreaterOrEqual(t, at, 0, message)
	return message[at:]
}
