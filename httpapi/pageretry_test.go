package httpapi_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// The page has the Retry-After that JSON has.
func TestPage_HasRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err    error
		status int
	}{
		"store away":      {&session.StoreError{Op: "x", Err: context.DeadlineExceeded}, 503},
		"shutting down":   {session.ErrClosed, 503},
		"too many":        {&session.LimitError{Limit: "MaxAttemptsPerSession", Value: 1}, 429},
		"upstream busy":   {&oauthclient.TemporaryError{Op: "x", StatusCode: 503}, 503},
		"no time is said": {errors.New("bug"), 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newFake(t, &fake{err: tc.err})
			plain := request(t, h, "GET", pathCallback+"?code=c&state=s", "")
			require.Equal(t, tc.status, plain.Code)
			want := plain.Header().Get("Retry-After")
			require.Equal(t, tc.status != 500, want != "")
			page := request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html")
			require.Equal(t, tc.status, page.Code)
			require.Equal(t, want, page.Header().Get("Retry-After"))
		})
	}
}

// On a redirect Retry-After would hold up the host's own page.
func TestAfterCallback_HasNoRetryAfter(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{}, func(c *httpapi.Config) { c.CallbacksPerMinute, c.AfterCallback = 1, "/done" })
	require.Equal(t, 200, from(t, h, "callback", someone).Code)
	w := from(t, h, "callback", someone, "Accept", "text/html")
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/done?mcp=failed", w.Header().Get("Location"))
	require.Empty(t, w.Header().Get("Retry-After"))
}
