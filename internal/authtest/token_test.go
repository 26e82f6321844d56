package authtest_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
)

func newClock() *testclock.Clock { return testclock.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) }

func TestWholeFlow(t *testing.T) {
	t.Parallel()
	clock := newClock()
	as := newServer(t, authtest.Options{Now: clock.Now})
	c := newClient(t, as)

	callback := c.approve()
	require.Equal(t, "s-1", callback.Get("state"))
	require.Equal(t, as.Issuer(), callback.Get("iss"))
	status, answer := c.exchange(callback.Get("code"))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "Bearer", answer["token_type"])
	require.Equal(t, "read write", answer["scope"])
	require.InEpsilon(t, 3600, answer["expires_in"], 0)

	info, err := as.Verify(answer["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, authtest.Info{
		User: "alice", ClientID: c.id, Scopes: []string{"read", "write"},
		Resource: resource, Expires: clock.Now().Add(time.Hour),
	}, info)

	clock.Advance(time.Hour)
	_, err = as.Verify(answer["access_token"].(string))
	require.ErrorIs(t, err, authtest.ErrTokenExpired)
	_, err = as.Verify("made-up")
	require.ErrorIs(t, err, authtest.ErrUnknownToken)

	status, refreshed := c.refresh(answer["refresh_token"].(string))
	require.Equal(t, http.StatusOK, status)
	_, err = as.Verify(refreshed["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, authtest.Counts{Registrations: 1, Authorizations: 1, Exchanges: 1, Refreshes: 1}, as.Counts())
}

func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts    authtest.Options
		changes []string
		want    string
	}{
		"unknown code":                 {changes: []string{"code", "guessed"}, want: "invalid_grant"},
		"no PKCE verifier":             {changes: []string{"code_verifier", ""}, want: "invalid_grant"},
		"another verifier":             {changes: []string{"code_verifier", "0123456789012345678901234567890123456789012"}, want: "invalid_grant"},
		"another redirect URI":         {changes: []string{"redirect_uri", redirectURI + "/"}, want: "invalid_grant"},
		"another resource":             {changes: []string{"resource", "https://other.example/"}, want: "invalid_target"},
		"resource missing, required":   {opts: authtest.Options{RequireResource: true}, changes: []string{"resource", ""}, want: "invalid_target"},
		"another grant type":           {changes: []string{"grant_type", "password"}, want: "unsupported_grant_type"},
		"unknown client":               {changes: []string{"client_id", "other"}, want: "invalid_client"},
		"secret nobody registered for": {changes: []string{"client_secret", "x"}, want: "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, tc.opts))
			status, answer := c.exchange(c.approve().Get("code"), tc.changes...)
			require.Equal(t, tc.want, answer["error"])
			if tc.want == "invalid_client" {
				require.Equal(t, http.StatusUnauthorized, status)
			} else {
				require.Equal(t, http.StatusBadRequest, status)
			}
			require.Zero(t, c.as.Counts().Exchanges)
			require.Len(t, c.as.TokenRequests(c.as.Requests(authtest.EndpointToken)[0].Get("grant_type")), 1)
		})
	}
}

func TestResourceRejected(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{RejectResource: true}))
	require.Equal(t, "invalid_target", c.approve().Get("error"))
	code := c.approve("resource", "").Get("code")
	_, answer := c.exchange(code)
	require.Equal(t, "invalid_target", answer["error"])
	status, _ := c.exchange(code, "resource", "")
	require.Equal(t, http.StatusOK, status)
}

func TestCodeReuseRevokesItsTokens(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	code := c.approve().Get("code")
	_, first := c.exchange(code)
	_, second := c.exchange(code)
	require.Equal(t, "invalid_grant", second["error"])
	_, err := c.as.Verify(first["access_token"].(string))
	require.ErrorIs(t, err, authtest.ErrTokenRevoked)
	_, refreshed := c.refresh(first["refresh_token"].(string))
	require.Equal(t, "invalid_grant", refreshed["error"])
	require.Equal(t, 1, c.as.Counts().CodesReused)
}

func TestCodeExpires(t *testing.T) {
	t.Parallel()
	clock := newClock()
	c := newClient(t, newServer(t, authtest.Options{Now: clock.Now}))
	code := c.approve().Get("code")
	clock.Advance(time.Hour)
	_, answer := c.exchange(code)
	require.Equal(t, "invalid_grant", answer["error"])
}

func TestRotationReuseRevokesTheFamily(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	first := c.login()
	other := c.login()
	_, second := c.refresh(first["refresh_token"].(string))
	require.NotEqual(t, first["refresh_token"], second["refresh_token"])
	require.False(t, c.as.RefreshTokenValid(first["refresh_token"].(string)))
	require.True(t, c.as.RefreshTokenValid(second["refresh_token"].(string)))

	status, reused := c.refresh(first["refresh_token"].(string))
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, "invalid_grant", reused["error"])
	require.Equal(t, 1, c.as.Counts().ReuseDetected)
	require.False(t, c.as.RefreshTokenValid(second["refresh_token"].(string)))
	_, err := c.as.Verify(second["access_token"].(string))
	require.ErrorIs(t, err, authtest.ErrTokenRevoked)

	_, err = c.as.Verify(other["access_token"].(string))
	require.NoError(t, err, "another authorization is another family")
}

func TestConcurrentRefreshIsReuse(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	token := c.login()["refresh_token"].(string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { c.refresh(token) })
	}
	wg.Wait()
	require.Equal(t, 1, c.as.Counts().Refreshes)
	require.Equal(t, 7, c.as.Counts().ReuseDetected)
	require.Len(t, c.as.TokenRequests("refresh_token"), 8)
}

func TestRefreshTokenPolicies(t *testing.T) {
	t.Parallel()
	t.Run("no rotation leaves refresh_token out", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{NoRotation: true}))
		token := c.login()["refresh_token"].(string)
		for range 2 {
			status, answer := c.refresh(token)
			require.Equal(t, http.StatusOK, status)
			require.NotContains(t, answer, "refresh_token")
		}
	})
	t.Run("none at all", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{NoRefreshTokens: true}))
		require.NotContains(t, c.login(), "refresh_token")
	})
	t.Run("offline_access decides", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{OfflineAccess: true}))
		require.NotContains(t, c.login(), "refresh_token")
		require.Contains(t, c.login("scope", "read offline_access"), "refresh_token")
	})
	t.Run("a client that did not register the grant", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{}))
		_, doc := c.register(map[string]any{
			"redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none",
		})
		c.id = doc["client_id"].(string)
		require.NotContains(t, c.login(), "refresh_token")
	})
	t.Run("scope can shrink, not grow", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{}))
		token := c.login()["refresh_token"].(string)
		_, answer := c.refresh(token, "scope", "admin")
		require.Equal(t, "invalid_scope", answer["error"])
		_, answer = c.refresh(token, "scope", "read")
		require.Equal(t, "read", answer["scope"])
	})
	t.Run("resource required and bound", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{RequireResource: true}))
		token := c.login()["refresh_token"].(string)
		_, answer := c.refresh(token, "resource", "")
		require.Equal(t, "invalid_target", answer["error"])
		_, answer = c.refresh(token, "resource", "https://other.example/")
		require.Equal(t, "invalid_target", answer["error"])
		status, _ := c.refresh(token)
		require.Equal(t, http.StatusOK, status)
	})
}

func TestExpiresInForms(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode authtest.ExpiresInMode
		want any
	}{
		"number":  {authtest.ExpiresInNumber, 60.0},
		"string":  {authtest.ExpiresInString, "60"},
		"zero":    {authtest.ExpiresInZero, 0.0},
		"omitted": {authtest.ExpiresInOmitted, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, authtest.Options{ExpiresIn: tc.mode}))
			c.as.SetAccessTokenTTL(time.Minute)
			answer := c.login()
			require.Equal(t, tc.want, answer["expires_in"])
			_, err := c.as.Verify(answer["access_token"].(string))
			require.NoError(t, err)
		})
	}
}

// What the server accepts for longer is not told to the client.
func TestLeeway(t *testing.T) {
	t.Parallel()
	clock := newClock()
	c := newClient(t, newServer(t, authtest.Options{Now: clock.Now, AccessTokenTTL: time.Minute, Leeway: 10 * time.Second}))
	answer := c.login()
	require.Equal(t, 60.0, answer["expires_in"])
	clock.Advance(69 * time.Second)
	_, err := c.as.Verify(answer["access_token"].(string))
	require.NoError(t, err)
	clock.Advance(time.Second)
	_, err = c.as.Verify(answer["access_token"].(string))
	require.ErrorIs(t, err, authtest.ErrTokenExpired)
}

func TestOnRefresh(t *testing.T) {
	t.Parallel()
	var users []string
	c := newClient(t, newServer(t, authtest.Options{User: "bob", OnRefresh: func(user string, r *http.Request) {
		users = append(users, user+" "+r.Method)
	}}))
	first := c.login()["refresh_token"].(string)
	require.Empty(t, users)
	_, _ = c.refresh("made-up")
	require.Empty(t, users)
	_, _ = c.refresh(first)
	require.Equal(t, []string{"bob POST"}, users)
	_, _ = c.refresh(first)
	require.Equal(t, []string{"bob POST", "bob POST"}, users, "used again")
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	as := newServer(t, authtest.Options{})
	c, stranger := newClient(t, as), newClient(t, as)
	answer := c.login()
	access, refresh := answer["access_token"].(string), answer["refresh_token"].(string)

	require.Equal(t, http.StatusBadRequest, stranger.revoke(refresh))
	require.Equal(t, http.StatusOK, c.revoke("unknown"), "RFC 7009 section 2.2")
	require.Equal(t, http.StatusOK, c.revoke(access))
	_, err := as.Verify(access)
	require.ErrorIs(t, err, authtest.ErrTokenRevoked)
	require.True(t, as.RefreshTokenValid(refresh), "revoking the access token leaves the refresh token alive")
	require.Equal(t, http.StatusOK, c.revoke(refresh))
	require.False(t, as.RefreshTokenValid(refresh))
	require.Equal(t, 3, as.Counts().Revocations)
}

func TestTokensEndOnDemand(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	answer := c.login()
	c.as.ExpireAccessTokens()
	_, err := c.as.Verify(answer["access_token"].(string))
	require.ErrorIs(t, err, authtest.ErrTokenExpired)
	_, answer = c.refresh(answer["refresh_token"].(string))
	pending := c.approve().Get("code")
	c.as.RevokeAll()
	_, err = c.as.Verify(answer["access_token"].(string))
	require.ErrorIs(t, err, authtest.ErrTokenRevoked)
	_, answer = c.refresh(answer["refresh_token"].(string))
	require.Equal(t, "invalid_grant", answer["error"])
	_, answer = c.exchange(pending)
	require.Equal(t, "invalid_grant", answer["error"])

	info, err := c.as.Verify(c.as.Issue("bob", resource, "admin"))
	require.NoError(t, err)
	require.Equal(t, "bob", info.User)
	require.Equal(t, []string{"admin"}, info.Scopes)
}
