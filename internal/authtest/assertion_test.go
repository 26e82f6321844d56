package authtest_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

const (
	assertionKind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	jwtBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// assertionClaims are those of a good assertion of a client.
func assertionClaims(as *authtest.Server, now time.Time) map[string]any {
	return map[string]any{"iss": "app", "sub": "app", "aud": as.Issuer(), "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
}

// Each row is what RFC 7523 section 3 has a server refuse, as the client's
// authentication and as a grant.
func TestAssertions(t *testing.T) {
	t.Parallel()
	clock := newClock()
	key, other := newKey(t), newKey(t)
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}}
	as := newServer(t, authtest.Options{Now: clock.Now, AssertionKeys: keys, Clients: []authtest.Client{
		{ID: "app", AuthMethod: authtest.AuthPrivateKeyJWT, Keys: keys}, {ID: "workload", AuthMethod: authtest.AuthNone},
	}})
	good := func() map[string]any { return assertionClaims(as, clock.Now()) }
	kid := map[jose.HeaderKey]any{"kid": "k"}
	es256 := func(claims map[string]any) string { return sign(t, jose.ES256, key, kid, claims) }
	rows := map[string]struct{ assertion, want string }{
		"no JWT":                        {"assertion", "no JWT"},
		"unsigned":                      {unsigned(t, map[string]any{"kid": "k"}, good()), "no JWT"},
		"a shared secret":               {sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), kid, good()), "no JWT"},
		"another key":                   {sign(t, jose.ES256, other, kid, good()), "no known key"},
		"an unknown kid":                {sign(t, jose.ES256, key, map[jose.HeaderKey]any{"kid": "x"}, good()), "no known key"},
		"wrong audience":                {es256(with(good(), "aud", "https://attacker.example")), "is for"},
		"several audiences":             {es256(with(good(), "aud", []string{as.Issuer(), "https://attacker.example"})), "is for"},
		"the token endpoint's audience": {es256(with(good(), "aud", as.EndpointURL(authtest.EndpointToken))), "is for"},
		"expired":                       {es256(with(good(), "exp", clock.Now().Unix())), "expired"},
		"without exp":                   {es256(without(good(), "exp")), "expired"},
		"lives for a day":               {es256(with(good(), "exp", clock.Now().Add(24*time.Hour).Unix())), "too long"},
		"without jti":                   {es256(without(good(), "jti")), "used before"},
	}
	c := &client{t: t, as: as}
	authenticate := func(assertion, kind string) (int, map[string]any) {
		return c.post(authtest.EndpointToken, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"app"}, "client_assertion": {assertion}, "client_assertion_type": {kind},
		})
	}
	bear := func(assertion string) (int, map[string]any) {
		return c.post(authtest.EndpointToken, url.Values{"grant_type": {jwtBearer}, "client_id": {"workload"}, "assertion": {assertion}})
	}
	for name, row := range rows {
		status, answer := authenticate(row.assertion, assertionKind)
		require.Equal(t, http.StatusUnauthorized, status, name)
		require.Equal(t, "invalid_client", answer["error"], name)
		if row.want != "no JWT" {
			require.Contains(t, answer["error_description"], row.want, name)
		}
		status, answer = bear(row.assertion)
		require.Equal(t, http.StatusBadRequest, status, name)
		require.Equal(t, "invalid_grant", answer["error"], name)
		require.Contains(t, answer["error_description"], row.want, name)
	}
	for _, name := range []string{"iss", "sub"} {
		_, answer := authenticate(es256(with(good(), name, "another")), assertionKind)
		require.Equal(t, "invalid_client", answer["error"], name)
	}
	_, answer := authenticate(es256(good()), "another type")
	require.Equal(t, "invalid_client", answer["error"])

	once := es256(good())
	status, answer := authenticate(once, assertionKind)
	require.Equal(t, http.StatusOK, status, answer)
	for _, again := range []func() (int, map[string]any){
		func() (int, map[string]any) { return authenticate(once, assertionKind) }, func() (int, map[string]any) { return bear(once) },
	} {
		_, answer = again()
		require.Contains(t, answer["error_description"], "used before", "replayed")
	}
	status, answer = bear(es256(good()))
	require.Equal(t, http.StatusOK, status, answer)
}

// The two halves of an ID-JAG refuse what is another's.
func TestIDJAG(t *testing.T) {
	t.Parallel()
	clock := newClock()
	idp := newServer(t, authtest.Options{Now: clock.Now, IDJAGClient: "app", Clients: []authtest.Client{{ID: "host", Secret: "host-secret"}}})
	stranger := newServer(t, authtest.Options{Now: clock.Now})
	as := newServer(t, authtest.Options{Now: clock.Now, AssertionKeys: idp.IdentityKeys(), Clients: []authtest.Client{
		{ID: "app", Secret: "app-secret"}, {ID: "other", Secret: "other-secret"}, {ID: "public", AuthMethod: authtest.AuthNone},
	}})
	host := &client{t: t, as: idp, id: "host", secret: "host-secret", basic: true}
	exchange := func(changes ...string) (int, map[string]any) {
		form := url.Values{
			"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"requested_token_type": {"urn:ietf:params:oauth:token-type:id-jag"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
			"subject_token": {idp.IDToken("alice", "host")}, "audience": {as.Issuer()}, "resource": {resource},
		}
		change(form, changes)
		return host.post(authtest.EndpointToken, form)
	}
	old := idp.IDToken("alice", "host")
	clock.Advance(time.Hour)
	for name, changes := range map[string][]string{
		"an expired ID token":           {"subject_token", old},
		"another client's ID token":     {"subject_token", idp.IDToken("alice", "other")},
		"an ID token of another issuer": {"subject_token", stranger.IDToken("alice", "host")},
		"an access token":               {"subject_token_type", "urn:ietf:params:oauth:token-type:access_token"},
		"no audience":                   {"audience", ""},
		"no resource":                   {"resource", ""},
	} {
		status, answer := exchange(changes...)
		require.Equal(t, http.StatusBadRequest, status, "%s: %v", name, answer)
	}
	jag := func(changes ...string) string {
		status, answer := exchange(changes...)
		require.Equal(t, http.StatusOK, status, answer)
		return answer["access_token"].(string)
	}
	bear := func(c *client, assertion, resource string) (int, map[string]any) {
		c.t, c.as = t, as
		return c.post(authtest.EndpointToken, url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}, "resource": {resource}})
	}
	app := &client{id: "app", secret: "app-secret", basic: true}
	for name, row := range map[string]struct {
		client    *client
		assertion string
		resource  string
	}{
		"another client":   {&client{id: "other", secret: "other-secret", basic: true}, jag(), resource},
		"a public client":  {&client{id: "public"}, jag(), resource},
		"another resource": {app, jag(), "https://attacker.example/mcp"},
		"another audience": {app, jag("audience", "https://attacker.example"), resource},
	} {
		status, answer := bear(row.client, row.assertion, row.resource)
		require.GreaterOrEqual(t, status, 400, "%s: %v", name, answer)
	}
	once := jag()
	status, answer := bear(app, once, resource)
	require.Equal(t, http.StatusOK, status, answer)
	info, err := as.Verify(answer["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, "alice", info.User)
	status, _ = bear(app, once, resource)
	require.Equal(t, http.StatusBadRequest, status, "replayed")
	late := jag()
	clock.Advance(time.Hour)
	status, _ = bear(app, late, resource)
	require.Equal(t, http.StatusBadRequest, status, "expired")
}
