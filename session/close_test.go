package session_test

import (
	"errors"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// beforeToken calls a function before the next token request, once it is set.
type beforeToken struct {
	http.RoundTripper
	call atomic.Pointer[func()]
}

func (b *beforeToken) Unwrap() http.RoundTripper { return b.RoundTripper }

func (b *beforeToken) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost && req.URL.Path == "/token" {
		if call := b.call.Swap(nil); call != nil {
			(*call)()
		}
	}
	return b.RoundTripper.RoundTrip(req)
}

// A Manager that closes while a code is exchanged still revokes the tokens that
// the new ones replace.
func TestCloseDuringAnExchangeRevokesTheOldGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	transport := &beforeToken{RoundTripper: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})}
	m := w.manager(t, func(c *session.Config) { c.Client.Transport = transport })
	id := w.connected(t, m)
	_, err := m.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, FreshRegistration: true}) // another client: its tokens do not replace the old ones
	response := w.approve(t, requireAuthorization(t, err).AuthURL)

	closed := make(chan error, 1)
	transport.call.Store(new(func() {
		go func() { closed <- m.Close() }()
		for err := error(nil); !errors.Is(err, session.ErrClosed); _, err = m.Status(t.Context(), alice, id) {
			runtime.Gosched()
		}
	}))
	_, err = m.FinishAuth(t.Context(), alice, "", response)
	require.NoError(t, err)
	require.NoError(t, <-closed)
	require.Equal(t, 2, w.as.Counts().Revocations, "the refresh token and the access token")
	requireWorks(t, w.manager(t), alice, id)
}
