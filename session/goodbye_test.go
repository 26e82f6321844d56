package session_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// deletes counts the DELETE requests that are under way. It holds the first up
// until there are as many as may be.
type deletes struct {
	base   http.RoundTripper
	enough int32

	now, most, all atomic.Int32
	once           sync.Once
	full           chan struct{}
}

func (d *deletes) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodDelete {
		return d.base.RoundTrip(req)
	}
	d.all.Add(1)
	now := d.now.Add(1)
	defer d.now.Add(-1)
	for most := d.most.Load(); now > most && !d.most.CompareAndSwap(most, now); most = d.most.Load() {
	}
	if now >= d.enough {
		d.once.Do(func() { close(d.full) })
	}
	<-d.full
	return d.base.RoundTrip(req)
}

// TestShutdownOfManySessionsIsBounded: a replica with thousands of live
// sessions must not open thousands of connections in order to end them.
func TestShutdownOfManySessionsIsBounded(t *testing.T) {
	t.Parallel()
	const sessions, atATime = 200, 64
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	d := &deletes{base: oauthclient.NewHTTPClient(oauthclient.NetworkPolicy{AllowLoopback: true}).Transport, enough: atATime, full: make(chan struct{})}
	m := w.manager(t, func(c *session.Config) {
		c.Client.HTTPClient = &http.Client{Transport: d}
		c.MaxSessionsPerOwner = sessions
	})
	for range sessions {
		client, err := oauthclient.New(oauthclient.Config{
			ServerURL: w.mcp.URL(), CallbackURL: callbackURL,
			Credentials: oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{
				AccessToken: oauthclient.NewSecret(w.as.Issue("alice", w.mcp.URL())), TokenType: "Bearer", Issuer: w.as.Issuer(),
			}),
		})
		require.NoError(t, err)
		id := session.GenerateSessionID()
		require.NoError(t, m.SetClient(t.Context(), alice, id, client))
		requireWorks(t, m, alice, id)
	}
	require.NoError(t, m.Close())
	require.EqualValues(t, sessions, d.all.Load())
	require.EqualValues(t, atATime, d.most.Load())
}
