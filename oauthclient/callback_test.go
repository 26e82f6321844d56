package oauthclient_test

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// The table of RFC 9207 section 2.4 as MCP 2026-07-28 has it, for success and
// error responses alike. A code that came with a refused issuer goes to no token
// endpoint.
func TestResponseIssuer(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		mode authtest.IssMode
		ok   bool
	}{
		{"advertised and right", authtest.IssAdvertised, true},
		{"advertised but missing (stripped)", authtest.IssMissing, false},
		{"advertised and wrong (mix-up attack)", authtest.IssWrong, false},
		{"not advertised and absent", authtest.IssAbsent, true},
		{"not advertised but right", authtest.IssUnadvertised, true},
		{"not advertised and wrong (mix-up attack)", authtest.IssUnadvertisedWrong, false},
	}
	for _, row := range rows {
		for _, deny := range []bool{false, true} {
			name := row.name + ", success"
			if deny {
				name = row.name + ", error"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{Iss: row.mode}, mcptest.Options{})
				c := w.client()
				required := w.begin(c)
				visit := w.as.Approve
				if deny {
					visit = w.as.Deny
				}
				callback, err := visit(t.Context(), required.AuthURL)
				require.NoError(t, err)
				err = c.FinishAuth(t.Context(), parseCallback(t, callback))
				var refused *oauthclient.AuthorizationError
				switch {
				case !row.ok:
					require.ErrorIs(t, err, oauthclient.ErrInvalidCallback)
					require.NotErrorAs(t, err, &refused, "an error response with a wrong iss says nothing")
				case deny:
					require.ErrorAs(t, err, &refused)
					require.Equal(t, "access_denied", refused.Code)
				default:
					require.NoError(t, err)
				}
				require.Equal(t, row.ok && !deny, len(w.as.Requests(authtest.EndpointToken)) == 1)
				require.Equal(t, row.ok && !deny, w.stored().Authorized())
			})
		}
	}
}

// RFC 9207 section 2.4: simple string comparison, no normalization.
func TestResponseIssuerIsComparedExactly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	good := resp.Iss
	for _, iss := range []string{good + "/", "HTTP" + good[4:], good + "#", good + " ", " " + good, good[:len(good)-1]} {
		resp.Iss = iss
		require.ErrorIs(t, c.FinishAuth(t.Context(), resp), oauthclient.ErrInvalidCallback, iss)
	}
	require.Empty(t, w.as.Requests(authtest.EndpointToken))
	resp.Iss = good
	require.NoError(t, c.FinishAuth(t.Context(), resp), "a refused response ends nothing")
}

func TestInvalidCallbacks(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		edit func(q url.Values)
	}{
		{"no state", func(q url.Values) { q.Del("state") }},
		{"unknown state", func(q url.Values) { q.Set("state", "forged") }},
		{"state in other case", func(q url.Values) { q.Set("state", q.Get("state")+"x") }},
		{"two states", func(q url.Values) { q.Add("state", "other") }},
		{"two codes", func(q url.Values) { q.Add("code", "other") }},
		{"two iss", func(q url.Values) { q.Add("iss", "https://attacker.example") }},
		{"empty iss", func(q url.Values) { q.Set("iss", "") }},
		{"neither code nor error", func(q url.Values) { q.Del("code") }},
		{"code and error", func(q url.Values) { q.Set("error", "access_denied") }},
		{"empty", func(q url.Values) { clear(q) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client()
			callback, err := w.as.Approve(t.Context(), w.begin(c).AuthURL)
			require.NoError(t, err)
			u, err := url.Parse(callback)
			require.NoError(t, err)
			q := u.Query()
			row.edit(q)
			err = c.FinishAuth(t.Context(), oauthclient.ParseAuthorizationResponse(q))
			require.ErrorIs(t, err, oauthclient.ErrInvalidCallback)
			require.Equal(t, oauthclient.ErrInvalidCallback.Error(), err.Error(), "what was wrong is not told")
			require.Empty(t, w.as.Requests(authtest.EndpointToken))
			require.NoError(t, c.FinishAuth(t.Context(), parseCallback(t, callback)), "a forged callback does not end the attempt")
		})
	}
}

// One AttemptStore serves two connections. The other connection must not get
// the token, and the attempt is not lost.
func TestFinishAuth_AttemptOfAnotherConnectionIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*oauthclient.Config){
		"another server":       func(cfg *oauthclient.Config) { cfg.ServerURL += "/other" },
		"another redirect URI": func(cfg *oauthclient.Config) { cfg.CallbackURL += "2" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			store := &attempts{now: w.clock.Now}
			shared := func(cfg *oauthclient.Config) { cfg.Attempts = store }
			own := w.client(shared)
			other := w.client(shared, change, func(cfg *oauthclient.Config) { cfg.Credentials = nil })
			resp := w.approve(w.begin(own))
			require.ErrorIs(t, other.FinishAuth(t.Context(), resp), oauthclient.ErrInvalidCallback)
			require.Empty(t, w.as.Requests(authtest.EndpointToken))
			require.NoError(t, own.FinishAuth(t.Context(), resp))
		})
	}
}

// The texts of denials are written by hand. [url.ParseQuery] drops a parameter
// with a stray percent sign or semicolon.
func TestParseCallbackQuery(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]url.Values{
		"":                     {},
		"&=x&":                 {},
		"code=a%2Bb+c&state=s": {"code": {"a+b c"}, "state": {"s"}},
		"error=access_denied&error_description=100%&state=s":         {"error": {"access_denied"}, "error_description": {"100%"}, "state": {"s"}},
		"error=access_denied&error_description=100%+of%20it;+%zz%41": {"error": {"access_denied"}, "error_description": {"100% of it; %zzA"}},
		"error=access_denied;x&state=s":                              {"error": {"access_denied;x"}, "state": {"s"}},
		"state=a&state=b&st%61te=c":                                  {"state": {"a", "b", "c"}},
		"a%=1&b%4=2":                                                 {"a%": {"1"}, "b%4": {"2"}},
	} {
		require.Equal(t, want, oauthclient.ParseCallbackQuery(raw), raw)
	}
}

func TestFinishAuth_StrayCharactersHideNoDenial(t *testing.T) {
	t.Parallel()
	for _, tail := range []string{"&error_description=100%", "&error_description=a;b", ";more", "&x=%zz;"} {
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		c := w.client()
		q := query(t, w.begin(c))
		raw := "state=" + q.Get("state") + "&iss=" + url.QueryEscape(w.as.Issuer()) + "&error=access_denied" + tail
		var refused *oauthclient.AuthorizationError
		require.ErrorAs(t, c.FinishAuth(t.Context(), oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(raw))), &refused, tail)
		require.Contains(t, refused.Code, "access_denied")
	}
}

func TestStateIsSingleUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	require.NoError(t, c.FinishAuth(t.Context(), resp))
	require.ErrorIs(t, c.FinishAuth(t.Context(), resp), oauthclient.ErrInvalidCallback)
	require.Len(t, w.as.Requests(authtest.EndpointToken), 1)
	require.Zero(t, w.as.Counts().CodesReused)
	require.NoError(t, w.call(c))
}

func TestStateIsSingleUseUnderContention(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	var succeeded atomic.Int64
	release := w.as.Block(authtest.EndpointToken)
	done := make(chan struct{})
	const n = 20
	var refused atomic.Int64
	for range n {
		go func() {
			defer func() { done <- struct{}{} }()
			if err := c.FinishAuth(t.Context(), resp); err == nil {
				succeeded.Add(1)
			} else if refused.Add(1) == n-1 {
				release()
			}
		}()
	}
	for range n {
		<-done
	}
	require.EqualValues(t, 1, succeeded.Load())
	require.Len(t, w.as.Requests(authtest.EndpointToken), 1)
}

func TestExpiredAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client(func(cfg *oauthclient.Config) { cfg.AttemptTTL = time.Minute })
	required := w.begin(c)
	resp := w.approve(required)
	require.Equal(t, w.clock.Now().Add(time.Minute), required.Expires)
	w.clock.Advance(time.Minute)
	require.ErrorIs(t, c.FinishAuth(t.Context(), resp), oauthclient.ErrInvalidCallback)
	require.Empty(t, w.as.Requests(authtest.EndpointToken))
	w.finish(c, w.begin(c))
}

// The callback may reach another process, or the same one after a restart.
func TestFinishAuth_OnAnotherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	store := &attempts{now: w.clock.Now}
	shared := func(cfg *oauthclient.Config) { cfg.Attempts = store }
	first, second := w.client(shared), w.client(shared)
	required := w.begin(first)
	w.as.SetEditMetadata(func(doc map[string]any) { doc["token_endpoint"] = "https://moved.example/token" })
	require.NoError(t, second.FinishAuth(t.Context(), w.approve(required)), "the attempt knows everything")
	require.NoError(t, w.call(first))
	require.NoError(t, w.call(second))
	require.ErrorIs(t, w.client().FinishAuth(t.Context(), w.approve(w.begin(w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil })))),
		oauthclient.ErrInvalidCallback, "a client with another attempt store knows nothing of it")
}

// The browser may go away while the code is exchanged; the code is spent, so
// the tokens must not be lost.
func TestFinishAuthOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	release := w.as.Block(authtest.EndpointToken)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.FinishAuth(ctx, resp) }()
	require.Eventually(t, func() bool { return len(w.as.Requests(authtest.EndpointToken)) == 1 }, 30*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	release()
	require.Eventually(t, func() bool { return w.stored().Authorized() }, 30*time.Second, time.Millisecond)
	require.NoError(t, w.call(c))
}

func TestOutageAtExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	w.as.FailNext(authtest.EndpointToken, 1, http.StatusServiceUnavailable)
	require.Equal(t, http.StatusServiceUnavailable, requireTemporary(t, c.FinishAuth(t.Context(), resp)).StatusCode)
	require.ErrorIs(t, c.FinishAuth(t.Context(), resp), oauthclient.ErrInvalidCallback, "a code is sent once")
	require.Len(t, w.as.Requests(authtest.EndpointToken), 1)
	w.finish(c, w.begin(c))
	require.NoError(t, w.call(c))
}

func TestRefusedByTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	callback, err := w.as.Deny(t.Context(), w.begin(c).AuthURL)
	require.NoError(t, err)
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, c.FinishAuth(t.Context(), parseCallback(t, callback)), &refused)
	require.Equal(t, oauthclient.AuthorizationError{Code: "access_denied", Description: "the user said no"}, *refused)
	require.Empty(t, w.as.Requests(authtest.EndpointToken))
	w.finish(c, w.begin(c))
}
