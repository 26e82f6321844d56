package oauthclient_test

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// limitOf names the limit that ends a hostile answer of an authorization server, as
// the error does. A time-out ends the answers that are not in it.
var limitOf = map[string]string{"endless body": "MaxAuthResponseBytes", "gzip bomb": "MaxAuthResponseBytes", "huge header": "header"}

// hostile are answers that are made to use up memory or time. They go on for as
// long as the other side reads, two minutes at most.
var hostile = map[string]http.HandlerFunc{
	"endless body": func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		repeat(r, rw, `{"issuer":"`+strings.Repeat("x", 64<<10), 0)
	},
	"gzip bomb": func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Encoding", "gzip")
		repeat(r, gzip.NewWriter(rw), strings.Repeat(" ", 1<<20), 0)
	},
	"slow-drip body": func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		repeat(r, rw, " ", 10*time.Millisecond)
	},
	"huge header": func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		for range 64 {
			rw.Header().Add("X-Padding", strings.Repeat("x", 64<<10))
		}
		_, _ = rw.Write([]byte("{}"))
	},
	"slow-drip header": func(rw http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\n")
		for began := time.Now(); time.Since(began) < dripTime; time.Sleep(10 * time.Millisecond) {
			_, _ = buffered.WriteString("X: x\r\n")
			if buffered.Flush() != nil {
				return
			}
		}
	},
}

// dripTime is how long a hostile answer goes on; boundTime is what a client
// may take at most, with room for a busy machine.
const (
	dripTime  = 2 * time.Minute
	boundTime = time.Minute
)

// repeat writes text until the client stops reading.
func repeat(r *http.Request, w io.Writer, text string, pause time.Duration) {
	for began := time.Now(); time.Since(began) < dripTime && r.Context().Err() == nil; time.Sleep(pause) {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
		if rw, ok := w.(http.ResponseWriter); ok && pause > 0 && http.NewResponseController(rw).Flush() != nil {
			return
		}
	}
}

// No answer of an authorization server costs more than MaxAuthResponseBytes and
// RequestTimeout. A hostile one is an error that names the limit, and the credentials
// are kept.
func TestHostileAnswersOfAuthorizationServers(t *testing.T) {
	t.Parallel()
	rows := map[string]func(*testing.T, *world, *oauthclient.MCPOAuthClient, http.HandlerFunc) error{
		"resource metadata": func(t *testing.T, w *world, c *oauthclient.MCPOAuthClient, answer http.HandlerFunc) error {
			w.mcp.SetMetadataOutage(answer)
			return c.Connect(t.Context())
		},
		"server metadata": func(t *testing.T, w *world, c *oauthclient.MCPOAuthClient, answer http.HandlerFunc) error {
			w.as.SetOutage(authtest.EndpointMetadata, answer)
			return c.Connect(t.Context())
		},
		"registration": func(t *testing.T, w *world, c *oauthclient.MCPOAuthClient, answer http.HandlerFunc) error {
			w.as.SetOutage(authtest.EndpointRegister, answer)
			return c.Connect(t.Context())
		},
		"code exchange": func(t *testing.T, w *world, c *oauthclient.MCPOAuthClient, answer http.HandlerFunc) error {
			resp := w.approve(w.begin(w.client())) // which has more time
			w.as.SetOutage(authtest.EndpointToken, answer)
			return c.FinishAuth(t.Context(), resp)
		},
		"refresh": func(t *testing.T, w *world, c *oauthclient.MCPOAuthClient, answer http.HandlerFunc) error {
			w.connected()
			w.as.SetOutage(authtest.EndpointToken, answer)
			w.clock.Advance(2 * time.Hour)
			err := w.call(c)
			require.False(t, w.stored().RefreshToken.IsZero(), "the credentials are kept")
			return err
		},
	}
	for name, ask := range rows {
		for kind, answer := range hostile {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{}, mcptest.Options{})
				w.attempts = oauthclient.NewMemoryAttemptStore(w.clock.Now)
				limit := limitOf[kind]
				c := w.client(func(cfg *oauthclient.Config) {
					if limit == "" {
						cfg.RequestTimeout = time.Second
					} else {
						cfg.RequestTimeout = boundTime // a busy machine takes a while to reach the limit
					}
				})
				began := time.Now()
				err := ask(t, w, c, answer)
				require.Less(t, time.Since(began), boundTime)
				require.ErrorContains(t, err, limit)
				if limit == "MaxAuthResponseBytes" {
					var answer *oauthclient.ServerError
					require.ErrorAs(t, err, &answer)
					require.NotEmpty(t, answer.Op)
				} else {
					require.Equal(t, limit == "", requireTemporary(t, err).Timeout, err)
				}
			})
		}
	}
}

// dripping is a server that challenges, and whose other answers never end.
type dripping struct{}

func (dripping) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: drip{r.Context()}, Request: r}
	if r.URL.Path == "/mcp" {
		resp.StatusCode, resp.Body = 401, http.NoBody
		resp.Header.Set("Www-Authenticate", `Bearer resource_metadata="https://mcp.example/metadata"`)
	}
	return resp, nil
}

// drip is a body of one space after another.
type drip struct{ ctx context.Context }

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(10 * time.Millisecond):
		return copy(p, " "), nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func (drip) Close() error { return nil }

// RequestTimeout is for each request, not only for all that an operation makes.
func TestRequestTimeoutIsForOneRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 4 * time.Second
		c, err := oauthclient.New(oauthclient.Config{
			ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL,
			Shared: oauthclient.Shared{Transport: dripping{}, InsecureTransport: true, RequestTimeout: timeout},
		})
		require.NoError(t, err)
		began := time.Now()
		require.True(t, requireTemporary(t, c.Connect(t.Context())).Timeout)
		require.Equal(t, timeout, time.Since(began))
	})
}

// Disconnecting does not depend on the authorization server.
func TestHostileAnswersToRevocation(t *testing.T) {
	t.Parallel()
	for kind, answer := range hostile {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.connected()
			c := w.client(func(cfg *oauthclient.Config) { cfg.RequestTimeout = time.Second })
			w.as.SetOutage(authtest.EndpointRevoke, answer)
			began := time.Now()
			require.NoError(t, c.Disconnect(t.Context()))
			require.Less(t, time.Since(began), boundTime)
			require.False(t, w.stored().Authorized())
		})
	}
}

// The MCP server gets no more than MaxResponseBytes and CallTimeout.
func TestHostileAnswersOfMCPServers(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"endless event stream": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			repeat(r, rw, `data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"`+strings.Repeat("x", 1000)+`"}}`+"\n\n", 0)
		},
		"endless line of an event stream": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			repeat(r, rw, "data: "+strings.Repeat("x", 1000), 0)
		},
		"endless comments in an event stream": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			repeat(r, rw, ": ping\n\n", 0)
		},
		"slow-drip event stream": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			repeat(r, rw, ": ping\n\n", 10*time.Millisecond)
		},
		"gzip bomb in an event stream": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			rw.Header().Set("Content-Encoding", "gzip")
			repeat(r, gzip.NewWriter(rw), "data: "+strings.Repeat("x", 1<<20), 0)
		},
		"slow-drip refusal": func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusUnauthorized)
			repeat(r, rw, " ", 10*time.Millisecond)
		},
		"slow-drip bad request": func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusBadRequest)
			repeat(r, rw, " ", 10*time.Millisecond)
		},
		"endless page": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			repeat(r, rw, strings.Repeat("<p>", 1000), 0)
		},
	}
	for kind, answer := range hostile {
		answers[kind] = answer
	}
	for kind, answer := range answers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			bounded := func(cfg *oauthclient.Config) {
				cfg.MaxResponseBytes = 4 << 20
				if strings.HasPrefix(kind, "slow-drip") { // the others reach a limit before
					cfg.CallTimeout, cfg.ConnectTimeout = 4*time.Second, 4*time.Second
				}
			}
			w.connected()
			c := w.client(bounded)
			w.mcp.SetOutage(answer)
			began := time.Now()
			require.Error(t, w.call(c))
			require.Less(t, time.Since(began), boundTime)
			w.edit(func(creds *oauthclient.Credentials) { creds.Connection = oauthclient.Connection{} })
			began = time.Now()
			require.Error(t, w.client(bounded).Connect(t.Context()))
			require.Less(t, time.Since(began), boundTime)
			w.mcp.SetOutage(nil)
			require.NoError(t, w.call(c), "the connection survives")
		})
	}
}

// Config names the limit of an answer's size.
func TestMaxAuthResponseBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.as.SetEditMetadata(func(doc map[string]any) { doc["padding"] = strings.Repeat("x", 10_000) })
	small := w.client(func(cfg *oauthclient.Config) { cfg.MaxAuthResponseBytes = 9_000 })
	var answer *oauthclient.ServerError
	require.ErrorAs(t, small.Connect(t.Context()), &answer)
	require.ErrorContains(t, answer, "MaxAuthResponseBytes")
	w.begin(w.client(func(cfg *oauthclient.Config) { cfg.MaxAuthResponseBytes = 20_000 }))
}

func TestMaxRedirects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var hops atomic.Int64
	w.mcp.SetMetadataOutage(func(rw http.ResponseWriter, r *http.Request) {
		if hops.Add(-1) < 0 {
			w.mcp.SetMetadataOutage(nil)
		}
		http.Redirect(rw, r, r.URL.Path, http.StatusFound)
	})
	hops.Store(5)
	w.begin(w.client(func(cfg *oauthclient.Config) { cfg.MaxRedirects = 6 }))
}

func TestMaxRedirects_NegativeFollowsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.mcp.SetMetadataOutage(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/elsewhere", http.StatusFound) })
	w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, r.URL.Path+"/", http.StatusTemporaryRedirect)
	})
	c := w.client(func(cfg *oauthclient.Config) { cfg.MaxRedirects = -1 })
	require.Error(t, c.Connect(t.Context()))
	require.Error(t, c.Provider().Reauthorize(t.Context(), false))
	for _, path := range paths(w.mcp) {
		require.NotEqual(t, "/elsewhere", path)
	}
	for _, req := range w.mcp.Requests() {
		require.NotEqual(t, "/mcp/", req.Path)
	}
}

// Lists as long as the limits allow must not cost more than reading them.
func TestEndlessListsOfScopes(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 100_000 {
		many.WriteString(" " + strconv.Itoa(i))
	}
	scopes := strings.Fields(many.String())
	for name, aim := range map[string]func(*world){
		"scopes_supported": func(w *world) { w.mcp.SetMetadata(mcptest.Metadata{ScopesSupported: scopes}) },
		"challenge":        func(w *world) { w.challenge(`Bearer scope="` + strings.Join(scopes[:10_000], " ") + `"`) },
		"client_id": func(w *world) {
			w.as.SetOutage(authtest.EndpointRegister, authtest.Body(201, "application/json", `{"client_id":"`+strings.Repeat("x", 100_000)+`"}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			aim(w)
			began := time.Now()
			var discovery *oauthclient.DiscoveryError
			require.ErrorAs(t, w.client().Connect(t.Context()), &discovery)
			require.Contains(t, discovery.Reason, "authorization URL")
			require.Less(t, time.Since(began), boundTime)
		})
	}
}

// A header of the largest size is read in one go, not once for every word.
func TestChallengeOfManyWords(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("a,", 1<<20)
	began := time.Now()
	require.Zero(t, oauthclient.ParseChallenge(http.Header{"Www-Authenticate": {line}}))
	require.Less(t, time.Since(began), boundTime)
}
