package oauthclient_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestAuthorizationURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	store := &attempts{now: w.clock.Now}
	required := w.begin(w.client(func(cfg *oauthclient.Config) { cfg.Attempts = store }))
	q := query(t, required)
	attempt, err := store.Load(t.Context(), required.AttemptID)
	require.NoError(t, err)
	require.Equal(t, "code", q.Get("response_type"))
	require.Equal(t, callbackURL, q.Get("redirect_uri"))
	require.Equal(t, w.mcp.URL(), q.Get("resource"))
	require.Equal(t, "S256", q.Get("code_challenge_method"))
	require.Len(t, q.Get("code_challenge"), 43)
	require.NotContains(t, required.AuthURL, attempt.Verifier.Reveal())
	require.GreaterOrEqual(t, len(attempt.Verifier.Reveal()), 43, "RFC 7636 section 4.1")
	require.GreaterOrEqual(t, len(q.Get("state")), 22, "at least 128 bits")
	require.False(t, q.Has("scope"), "none is asked for")
	require.False(t, q.Has("prompt"))
	for name, values := range q {
		require.Len(t, values, 1, name)
	}
	require.NotContains(t, required.AuthURL, required.AttemptID, "the ID does not give the state away, nor the other way round")
	require.NotContains(t, required.AttemptID, q.Get("state"))
	require.Equal(t, w.clock.Now().Add(10*time.Minute), required.Expires)

	other := query(t, w.begin(w.client()))
	require.NotEqual(t, q.Get("state"), other.Get("state"))
	require.NotEqual(t, q.Get("code_challenge"), other.Get("code_challenge"))
}

// RFC 8707: Entra refuses the parameter, the specification demands it in every
// request.
func TestResource_IsSentUnlessThePolicySkipsIt(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		as     authtest.Options
		policy oauthclient.ServerPolicy
		sent   bool
	}{
		{"demanded", authtest.Options{RequireResource: true}, oauthclient.ServerPolicy{}, true},
		{"rejected", authtest.Options{RejectResource: true}, oauthclient.ServerPolicy{SkipResourceParameter: true}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.as, mcptest.Options{SkipAudienceCheck: true})
			c := w.connected(policy(row.policy))
			w.clock.Advance(2 * time.Hour)
			require.NoError(t, w.call(c))
			var got []string
			for _, req := range append(w.as.Requests(authtest.EndpointAuthorize), w.as.Requests(authtest.EndpointToken)...) {
				got = append(got, req.Get("resource"))
			}
			want := []string{"", "", ""}
			if row.sent {
				want = []string{w.mcp.URL(), w.mcp.URL(), w.mcp.URL()}
			}
			require.Equal(t, want, got, "authorization, exchange, refresh")
			require.Equal(t, want[0], w.stored().Resource)
		})
	}
}

func TestScopes_OfTheChallengeElseOfTheMetadataElseNone(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name    string
		as      []string // scopes_supported of the authorization server
		meta    []string // of the resource metadata
		chal    string
		policy  []string
		want    string
		consent bool
	}{
		{name: "challenge before all", meta: []string{"a", "b"}, chal: "c", want: "c"},
		{name: "resource metadata without challenge", meta: []string{"a", "b"}, want: "a b"},
		{name: "none", want: ""},
		{name: "not what the authorization server supports", as: []string{"x", "y"}, want: ""},
		{name: "offline_access where offered", as: []string{"a", "offline_access"}, meta: []string{"a"}, want: "a offline_access", consent: true},
		{name: "offline_access alone", as: []string{"offline_access"}, want: "offline_access", consent: true},
		{name: "offline_access once", as: []string{"a", "offline_access"}, chal: "offline_access a", want: "offline_access a", consent: true},
		{name: "no offline_access where not offered", as: []string{"a"}, meta: []string{"a"}, want: "a"},
		{name: "policy replaces all", as: []string{"p", "offline_access"}, meta: []string{"a"}, chal: "c", policy: []string{"p"}, want: "p"},
		{name: "policy with offline_access", policy: []string{"p", "offline_access"}, want: "p offline_access", consent: true},
		{name: "each once", chal: "a b a", want: "a b"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc["scopes_supported"] = row.as }}, mcptest.Options{
				Challenge: mcptest.Challenge{Scope: row.chal}, Metadata: mcptest.Metadata{ScopesSupported: row.meta},
			})
			c := w.client(policy(oauthclient.ServerPolicy{Scopes: row.policy}))
			required := w.begin(c)
			require.Equal(t, row.want, query(t, required).Get("scope"))
			require.Equal(t, row.want, strings.Join(required.Scopes, " "))
			require.Equal(t, row.consent, query(t, required).Get("prompt") == "consent")
			w.finish(c, required)
			require.Equal(t, row.want, strings.Join(w.stored().Scopes, " "))
		})
	}
}

// A refresh token comes only with offline_access on such servers.
func TestScopes_OfflineAccessBringsARefreshToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{OfflineAccess: true, ScopesSupported: []string{"read", "offline_access"}}, mcptest.Options{RequiredScopes: []string{"read"}})
	c := w.connected()
	require.False(t, w.stored().RefreshToken.IsZero())
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

func TestGrantedScopesAreStored(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		as   authtest.Options
		want []string
	}{
		{"as the server says", authtest.Options{GrantScopes: func([]string) []string { return []string{"read"} }}, []string{"read"}},
		{"as requested when it says nothing", authtest.Options{OmitScope: true}, []string{"read", "write"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.as, mcptest.Options{Metadata: mcptest.Metadata{ScopesSupported: []string{"read", "write"}}})
			c := w.connected()
			require.Equal(t, row.want, w.stored().Scopes)
			w.clock.Advance(2 * time.Hour)
			require.NoError(t, w.call(c))
			require.Equal(t, row.want, w.stored().Scopes, "after a refresh")
		})
	}
}

// A scope that the server no longer knows must not be asked for for ever.
func TestRefusedScopeIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Challenge: mcptest.Challenge{Scope: "old"}})
	c := w.connected()
	w.as.RevokeAll()
	w.challenge(`Bearer scope="new"`)
	required := requireAuthorization(t, w.call(c))
	require.Equal(t, "old new", query(t, required).Get("scope"), "what was granted is asked for again")
	err := c.FinishAuth(t.Context(), oauthclient.AuthorizationResponse{
		State: oauthclient.NewSecret(query(t, required).Get("state")), Iss: w.as.Issuer(), Error: "invalid_scope",
	})
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, err, &refused)
	w.edit(func(c *oauthclient.Credentials) { require.Empty(t, c.Scopes) })
	require.Empty(t, query(t, w.begin(c)).Get("scope"))
}

// Nothing is handed to the user that could not be finished.
func TestAttemptThatCannotBeStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	store := &attempts{now: w.clock.Now}
	called := false
	c := w.client(func(cfg *oauthclient.Config) {
		cfg.Attempts = store
		cfg.OnRedirect = func(string) { called = true }
	})
	broken := errors.New("store is away")
	store.fail(broken)
	err := c.Connect(t.Context())
	var storage *oauthclient.StorageError
	require.ErrorAs(t, err, &storage)
	require.ErrorIs(t, err, broken)
	require.False(t, called)
	store.fail(nil)
	required := w.begin(c)
	resp := w.approve(required)
	store.fail(broken)
	require.ErrorAs(t, c.FinishAuth(t.Context(), resp), &storage, "an outage is not an invalid callback")
	store.fail(nil)
	require.NoError(t, c.FinishAuth(t.Context(), resp), "and ends nothing")
}
