package oauthclient_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

type wrapped struct{ http.RoundTripper }

type unwrapped struct{ wrapped }

func (u unwrapped) Unwrap() http.RoundTripper { return u.RoundTripper }

// A transport that drops the checks of the network policy is not taken in silence.
func TestTransportWithoutPolicyIsNoted(t *testing.T) {
	t.Parallel()
	own := oauthclient.NewTransport(oauthclient.NetworkPolicy{})
	for _, c := range []struct {
		name      string
		transport http.RoundTripper
		lines     int
	}{
		{"the default", nil, 0},
		{"one of this package", own, 0},
		{"wrapped, with Unwrap", unwrapped{wrapped{own}}, 0},
		{"wrapped, without Unwrap", wrapped{own}, 1},
		{"another one", http.DefaultTransport, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log testlog.Buffer
			shared, err := oauthclient.Shared{Transport: c.transport}.Prepare()
			require.NoError(t, err)
			for range 3 {
				_, err := oauthclient.New(oauthclient.Config{
					ServerURL: "https://mcp.example/mcp", CallbackURL: "https://app.example/callback", Shared: shared, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				})
				require.NoError(t, err)
			}
			require.Equal(t, c.lines, strings.Count(log.String(), "level=WARN"), log.String())
		})
	}
}
