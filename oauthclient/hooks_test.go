package oauthclient_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A hook may use the client that it is called about. In the middle of a
// negotiation its call would wait for itself. The caller that begins the attempt waits for its hooks.
func TestHooks_MayUseTheirClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var c *oauthclient.MCPOAuthClient
	var mu sync.Mutex
	var inHooks []error
	use := func(ctx context.Context) {
		err := w.call(c)
		mu.Lock()
		defer mu.Unlock()
		require.NoError(t, ctx.Err())
		inHooks = append(inHooks, err)
	}
	c = w.client(func(cfg *oauthclient.Config) {
		cfg.OnRedirect = func(string) { use(context.Background()) }
		cfg.OnAuthorizationRequired = func(ctx context.Context, _ *oauthclient.AuthorizationRequiredError) { use(ctx) }
	})
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() { _ = w.call(c) })
	}
	callers.Wait()
	required := requireAuthorization(t, w.call(c))
	require.Len(t, inHooks, 2, "one attempt")
	for _, err := range inHooks {
		require.Equal(t, required.AttemptID, requireAuthorization(t, err).AttemptID)
	}
}

// A caller that leaves while its attempt is begun takes no hook along.
func TestHooks_OutliveTheirCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	begun, left, hooked := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	var once sync.Once
	c := w.client(func(cfg *oauthclient.Config) {
		cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, "/register") {
				once.Do(func() { close(begun); <-left })
			}
			return w.http.Transport.RoundTrip(req)
		})
		cfg.InsecureTransport = true
		cfg.OnRedirect = func(string) { hooked <- nil }
		cfg.OnAuthorizationRequired = func(ctx context.Context, _ *oauthclient.AuthorizationRequiredError) { hooked <- ctx.Err() }
	})
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Connect(ctx) }()
	<-begun
	leave()
	require.ErrorIs(t, <-ended, context.Canceled)
	close(left)
	for range 2 {
		select {
		case err := <-hooked:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("no hook was called")
		}
	}
	requireAuthorization(t, w.call(c))
	require.Empty(t, hooked, "it is the same attempt")
}
