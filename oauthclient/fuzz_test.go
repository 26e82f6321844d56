package oauthclient_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

const (
	fuzzServer  = "https://mcp.example/mcp"
	fuzzIssuer  = "https://as.example"
	fuzzCode    = "CODE-C4N4RY-0123456789"
	fuzzRefresh = "REFRESH-C4N4RY-0123456789"
	goodPRM     = `{"resource":"https://mcp.example/mcp","authorization_servers":["https://as.example"],"scopes_supported":["a"]}`
	goodAS      = `{"issuer":"https://as.example","authorization_endpoint":"https://as.example/authorize","token_endpoint":"https://as.example/token",` +
		`"registration_endpoint":"https://as.example/register","code_challenge_methods_supported":["S256"]}`
	goodToken = `{"access_token":"ACCESS-0123456789","token_type":"Bearer","expires_in":3600,"refresh_token":"` + fuzzRefresh + `"}`
)

// answerer is all servers at once, without a network: a test's own transport.
type answerer struct {
	prm, as, token string
	tokenStatus    int
	tokenType      string

	urls  []*url.URL
	codes []string // what was sent to a token endpoint
}

func (a *answerer) RoundTrip(req *http.Request) (*http.Response, error) {
	a.urls = append(a.urls, req.URL)
	status, contentType, body := http.StatusOK, "application/json", a.as
	switch {
	case strings.HasPrefix(req.URL.Path, "/.well-known/oauth-protected-resource"):
		body = a.prm
	case req.Method == http.MethodPost && req.Header.Get("Content-Type") == "application/json":
		status, body = http.StatusCreated, `{"client_id":"client"}`
	case req.Method == http.MethodPost:
		sent, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(sent))
		if err != nil {
			return nil, err
		}
		a.codes = append(a.codes, form.Get("code"))
		status, contentType, body = a.tokenStatus, a.tokenType, a.token
	}
	header := http.Header{"Content-Type": {contentType}}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// provider returns a provider for fuzzServer and its credentials.
func (a *answerer) provider(tb testing.TB, now time.Time) (*oauthclient.OAuthProvider, oauthclient.CredentialStore) {
	tb.Helper()
	creds := oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
	p, err := oauthclient.NewOAuthProvider(oauthclient.Config{
		ServerURL: fuzzServer, CallbackURL: callbackURL, Shared: oauthclient.Shared{Transport: a, InsecureTransport: true}, Credentials: creds, Now: func() time.Time { return now },
	})
	require.NoError(tb, err)
	return p, creds
}

// requireTyped says that err is one that a caller can act on.
func requireTyped(tb testing.TB, err error) {
	tb.Helper()
	var temporary *oauthclient.TemporaryError
	var refused *oauthclient.AuthorizationError
	var discovery *oauthclient.DiscoveryError
	var registration *oauthclient.RegistrationRequiredError
	var server *oauthclient.ServerError
	require.True(tb, errors.As(err, &temporary) || errors.As(err, &server) && server.Op != "" || errors.As(err, &refused) || errors.As(err, &discovery) ||
		errors.As(err, &registration) || errors.Is(err, oauthclient.ErrInvalidCallback) || errors.Is(err, oauthclient.ErrForbiddenAddress), "%T %v", err, err)
}

// What a challenge yields is in the header, so nothing can be made up, and an
// anonymous header yields nothing.
func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{
		``, `Bearer`, `Bearer resource_metadata="https://a.example/x", scope="a b", error="invalid_token"`, `bearer scope=a,error=b`,
		`Basic realm="x", Bearer error="e"`, `Bearer resource_metadata="unclosed`, `Bearer error="a\"b\\c"`, `DPoP algs="ES256", scope=x`,
		`Negotiate abc==, Bearer scope="s"`, `Bearer =x`, `Bearer a = "b" , , c=d`, ",,,,", `Bearer scope="` + strings.Repeat("a ", 1000) + `"`, "Bearer \x00=\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := oauthclient.ParseChallenge(http.Header{"Www-Authenticate": {line}})
		lower := strings.ToLower(line)
		if !strings.Contains(lower, "bearer") && !strings.Contains(lower, "dpop") {
			require.Zero(t, c)
		}
		plain := strings.ReplaceAll(line, `\`, "")
		for _, value := range append([]string{c.ResourceMetadata, c.ErrorCode}, c.Scopes...) {
			require.Contains(t, plain, strings.ReplaceAll(value, `\`, ""))
		}
		for _, scope := range c.Scopes {
			require.Equal(t, []string{scope}, strings.Fields(scope))
		}
		require.Equal(t, c, oauthclient.ParseChallenge(http.Header{"Www-Authenticate": {line, line}}), "the first of several counts")
	})
}

// Whatever the documents and the challenge say: only http(s) URLs are asked for
// and given to the browser, PKCE and state are always there, and the client
// stays with the issuer that the documents agree on.
func FuzzMetadata(f *testing.F) {
	for _, seed := range [][3]string{
		{`Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/x"`, goodPRM, goodAS},
		{`Bearer resource_metadata="file:///etc/passwd"`, goodPRM, goodAS},
		{`Bearer scope="admin"`, `{"resource":"https://other.example/mcp","authorization_servers":["https://as.example"]}`, goodAS},
		{``, `{"resource":"https://mcp.example","authorization_servers":[]}`, goodAS},
		{``, `{"resource":"https://mcp.example","authorization_servers":["javascript:alert(1)","https://as.example"]}`, goodAS},
		{``, `{"resource":["x"],"authorization_servers":{}}`, `[]`},
		{``, goodPRM, strings.Replace(goodAS, "https://as.example/authorize", "javascript:alert(1)", 1)},
		{``, goodPRM, strings.Replace(goodAS, "https://as.example/authorize", "https://as.example/authorize?state=fixed&code_challenge_method=plain", 1)},
		{``, goodPRM, strings.Replace(goodAS, `"issuer":"https://as.example"`, `"issuer":"https://evil.example"`, 1)},
		{``, goodPRM, strings.Replace(goodAS, `"issuer":`, `"issuer":"https://evil.example","issuer":`, 1)},
		{``, goodPRM, strings.Replace(goodAS, `["S256"]`, `["plain"]`, 1)}, {``, goodPRM, strings.Replace(goodAS, `["S256"]`, `"S256"`, 1)},
		{``, `null`, `null`}, {``, ``, ``}, {``, strings.Repeat("[", 20_000), goodAS},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, line, prm, as string) {
		servers := &answerer{prm: prm, as: as}
		p, _ := servers.provider(t, newClock().Now())
		required, err := p.BeginAttempt(t.Context(), http.Header{"Www-Authenticate": {line}})
		for _, u := range servers.urls {
			require.Contains(t, []string{"http", "https"}, u.Scheme)
			require.NotEmpty(t, u.Hostname())
			require.Nil(t, u.User)
		}
		if err != nil {
			requireTyped(t, err)
			return
		}
		u, err := url.Parse(required.AuthURL)
		require.NoError(t, err)
		require.Contains(t, []string{"http", "https"}, u.Scheme)
		require.NotEmpty(t, u.Hostname())
		q := u.Query()
		require.Equal(t, []string{"S256"}, q["code_challenge_method"])
		require.Equal(t, []string{callbackURL}, q["redirect_uri"])
		require.Len(t, q["state"], 1)
		require.Len(t, q["state"][0], 26)
		require.True(t, strings.HasPrefix(fuzzServer, strings.TrimSuffix(strings.ToLower(q.Get("resource")), "/")), q.Get("resource"))
		var server struct{ Issuer string }
		require.NoError(t, json.Unmarshal([]byte(as), &server))
		require.NotContains(t, required.Error(), q.Get("state"))
	})
}

// A token answer either gives a token that can be sent, with times that can be
// stored, or an error that shows no secret and takes no credentials away.
func FuzzTokenResponse(f *testing.F) {
	for _, seed := range []string{
		goodToken, `{"access_token":"a","expires_in":"3600"}`, `{"access_token":"a","expires_in":0}`, `{"access_token":"a","expires_in":-1}`,
		`{"access_token":"a","expires_in":1e400}`, `{"access_token":"a","expires_in":9223372036854775808}`, `{"access_token":"a","expires_in":"NaN"}`,
		`{"access_token":"a","expires_in":null}`, `{"access_token":"a","expires_in":{}}`, `{"access_token":"a","expires_in":0.5}`, `{"access_token":"a"}`,
		`{"access_token":"a","access_token":"b","expires_in":1,"expires_in":2}`, `{"access_token":1}`, `{"access_token":"a\r\nX: y"}`, `{"Access_Token":"a"}`,
		`{"access_token":"a","scope":["x",1]}`, `{"access_token":"a","scope":["x","y"]}`, `{"access_token":"a","token_type":"DPoP"}`, `{"access_token":"a","refresh_token":7}`,
		`{"error":"invalid_grant","error_description":"no ` + fuzzCode + ` here"}`, `{"error":{"code":1}}`, `{"error":"` + fuzzCode + `"}`, `access_token=a&expires_in=3600&scope=a+b`,
		`{"error":"server_error","error_description":"` + fuzzRefresh + `"}`,
		`error=bad_verification_code&error_description=` + fuzzCode, ``, `null`, `[]`, `"x"`, `{`, strings.Repeat(`{"a":`, 5000), `{"access_token":"` + strings.Repeat("a", 100_000) + `"}`,
	} {
		for _, status := range []int{200, 400} {
			f.Add(seed, status, false, false)
			f.Add(seed, status, true, true)
		}
	}
	f.Fuzz(func(t *testing.T, body string, status int, form, refresh bool) {
		if status < 200 || status > 599 || status/100 == 3 {
			return // no answer, or a redirect
		}
		servers := &answerer{prm: goodPRM, as: goodAS, token: goodToken, tokenStatus: 200, tokenType: "application/json"}
		now := newClock().Now()
		p, creds := servers.provider(t, now)
		required, err := p.BeginAttempt(t.Context(), nil)
		require.NoError(t, err)
		finish := func() error {
			return p.FinishAuth(t.Context(), oauthclient.AuthorizationResponse{
				Code: oauthclient.NewSecret(fuzzCode), State: oauthclient.NewSecret(queryOf(t, required.AuthURL).Get("state")),
			})
		}
		if refresh {
			require.NoError(t, finish())
			require.NoError(t, creds.Update(t.Context(), func(c *oauthclient.Credentials) error {
				c.AccessToken, c.Expiry, c.RefreshAfter = oauthclient.NewSecret("EXPIRED-0123456789"), now.Add(-time.Hour), now.Add(-time.Hour)
				return nil
			}))
		}
		servers.token, servers.tokenStatus = body, status
		if form {
			servers.tokenType = "application/x-www-form-urlencoded"
		}
		if refresh {
			_, err = p.Token(t.Context())
		} else {
			err = finish()
		}
		require.LessOrEqual(t, len(servers.codes), 2, "a grant is sent once")
		got, loadErr := creds.Load(t.Context())
		require.NoError(t, loadErr)
		if err != nil {
			requireSafeFailure(t, err, got, refresh)
			return
		}
		requireSaneToken(t, got, now)
		if refresh {
			require.False(t, got.RefreshToken.IsZero(), "an omitted refresh token is kept")
		}
	})
}

func requireSafeFailure(t *testing.T, err error, got oauthclient.Credentials, refresh bool) {
	t.Helper()
	sent := fuzzCode
	if refresh {
		sent = fuzzRefresh
	}
	require.NotContains(t, err.Error(), sent, "servers repeat what they were sent")
	require.Less(t, len(err.Error()), 600)
	var required *oauthclient.AuthorizationRequiredError
	if refresh && errors.As(err, &required) {
		return // a final refusal
	}
	requireTyped(t, err)
	require.Equal(t, refresh, got.Authorized(), "kept as it was")
}

func requireSaneToken(t *testing.T, got oauthclient.Credentials, now time.Time) {
	t.Helper()
	require.NotEmpty(t, got.AccessToken.Reveal())
	require.False(t, strings.ContainsFunc(got.AccessToken.Reveal(), func(c rune) bool { return c <= ' ' || c > '~' }), "it fits into a header")
	require.Equal(t, "Bearer", got.TokenType)
	require.Equal(t, fuzzIssuer, got.Issuer)
	if got.Expiry.IsZero() {
		require.Zero(t, got.RefreshAfter)
	} else {
		require.False(t, got.Expiry.Before(now))
		require.False(t, got.Expiry.After(now.AddDate(11, 0, 0)))
		require.False(t, got.RefreshAfter.After(got.Expiry))
		require.False(t, got.RefreshAfter.Before(now))
	}
	stored, err := got.MarshalBinary()
	require.NoError(t, err)
	var back oauthclient.Credentials
	require.NoError(t, back.UnmarshalBinary(stored))
	again, err := back.MarshalBinary()
	require.NoError(t, err)
	require.Equal(t, stored, again)
}

// A code leaves only for a response that has the state of a pending attempt,
// and the issuer's name if any; everything else changes nothing.
func FuzzAuthorizationResponse(f *testing.F) {
	for _, seed := range []string{
		"code=" + fuzzCode + "&state={state}", "code=" + fuzzCode + "&state={state}&iss=https://as.example", "code=" + fuzzCode + "&state={state}&iss=https://evil.example",
		"code=" + fuzzCode + "&state={state}&iss=", "code=" + fuzzCode + "&state=", "code=" + fuzzCode, "code=" + fuzzCode + "&state={state}&state={state}", "state={state}",
		"code=" + fuzzCode + "&state={state}x", "code=" + fuzzCode + "&state=AAAAAAAAAAAAAAAAAAAAAAAAAA", "code=a&error=b&state={state}", "error=access_denied&state={state}",
		"code=" + fuzzCode + "&state={state}&iss=https://as.example/", "code=" + fuzzCode + "&state={state}&iss=HTTPS://as.example", "code=%00&state=%7bstate}", "%zz", "code=" + fuzzCode + ";state={state}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		servers := &answerer{prm: goodPRM, as: goodAS, token: goodToken, tokenStatus: 200, tokenType: "application/json"}
		p, creds := servers.provider(t, newClock().Now())
		required, err := p.BeginAttempt(t.Context(), nil)
		require.NoError(t, err)
		state := queryOf(t, required.AuthURL).Get("state")
		values, err := url.ParseQuery(strings.ReplaceAll(query, "{state}", state))
		if err != nil {
			return
		}
		err = p.FinishAuth(t.Context(), oauthclient.ParseAuthorizationResponse(values))
		got, loadErr := creds.Load(t.Context())
		require.NoError(t, loadErr)
		good := slices.Equal(values["state"], []string{state}) && len(values["code"]) == 1 && values.Get("code") != "" && len(values["error"]) == 0 &&
			(!values.Has("iss") || slices.Equal(values["iss"], []string{fuzzIssuer}))
		if len(servers.codes) > 0 {
			require.True(t, good || values.Get("error") == "", "a code was sent for %q", query)
			require.Equal(t, []string{state}, values["state"])
			require.Equal(t, []string{values.Get("code")}, servers.codes)
			require.NoError(t, err)
			require.True(t, got.Authorized())
			return
		}
		require.Error(t, err)
		requireTyped(t, err)
		require.False(t, got.Authorized())
		require.NotContains(t, err.Error(), state)
		if errors.Is(err, oauthclient.ErrInvalidCallback) {
			require.NoError(t, p.FinishAuth(t.Context(), oauthclient.AuthorizationResponse{Code: oauthclient.NewSecret(fuzzCode), State: oauthclient.NewSecret(state)}),
				"the attempt is still pending")
		}
	})
}

// A record of any content is read without harm, and written back the same.
func FuzzStoredCredentials(f *testing.F) {
	full, err := oauthclient.Credentials{
		AccessToken: oauthclient.NewSecret("a"), RefreshToken: oauthclient.NewSecret("r"), TokenType: "Bearer", Expiry: newClock().Now(), Scopes: []string{"s"},
		Registration: oauthclient.Registration{ClientID: "c", ClientSecret: oauthclient.NewSecret("s"), SecretExpiry: newClock().Now()},
	}.MarshalBinary()
	require.NoError(f, err)
	attempt, err := oauthclient.Attempt{ID: "i", Verifier: oauthclient.NewSecret("v"), Expires: newClock().Now()}.MarshalBinary()
	require.NoError(f, err)
	for _, seed := range [][]byte{full, attempt, full[:len(full)/2], nil, []byte("null"), []byte("[]"), []byte(`{"expiry":"9999-99-99"}`), []byte(`{"expiry":1}`), []byte(`{"scopes":"a"}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		stored(t, data, new(oauthclient.Credentials), new(oauthclient.Credentials))
		stored(t, data, new(oauthclient.Attempt), new(oauthclient.Attempt))
		stored(t, data, new(oauthclient.Registration), new(oauthclient.Registration))
	})
}

type record interface {
	UnmarshalBinary([]byte) error
	MarshalBinary() ([]byte, error)
}

func stored(t *testing.T, data []byte, read, back record) {
	t.Helper()
	if err := read.UnmarshalBinary(data); err != nil {
		if len(data) > 20 { // a shorter one may be a word of the error
			require.NotContains(t, err.Error(), string(data), "an error shows nothing of a record")
		}
		return
	}
	written, err := read.MarshalBinary()
	require.NoError(t, err)
	require.NoError(t, back.UnmarshalBinary(written))
	again, err := back.MarshalBinary()
	require.NoError(t, err)
	require.Equal(t, written, again)
}

// queryOf returns the parameters of a URL.
func queryOf(tb testing.TB, raw string) url.Values {
	tb.Helper()
	u, err := url.Parse(raw)
	require.NoError(tb, err)
	return u.Query()
}

// Where url.ParseQuery can read a query, ParseCallbackQuery reads the same.
func FuzzCallbackQuery(f *testing.F) {
	for _, seed := range []string{"", "code=a%2Bb+c&state=s", "error=access_denied&error_description=100%", "a;b=c", "a&a=&=b&&", "%41=%zz%", "iss=https%3A%2F%2Fas.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := oauthclient.ParseCallbackQuery(raw)
		want, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		want.Del("") // a parameter without a name
		require.Equal(t, want, got)
	})
}

// A server URL has one spelling, which can be parsed and is not changed again.
func FuzzServerURL(f *testing.F) {
	for _, seed := range []string{"https://MCP.example:443/mcp?a=b", "http://[::1]:80/", "https://bücher.example", "https://a:b@c", "HTTPS://%41.example/%zz", "https://[fe80::1%25lo]/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		normal, err := oauthclient.NormalizeServerURL(raw)
		if err != nil {
			require.Empty(t, normal)
			return
		}
		again, err := oauthclient.NormalizeServerURL(normal)
		require.NoError(t, err, normal)
		require.Equal(t, normal, again)
		u, err := url.Parse(normal)
		require.NoError(t, err)
		require.Equal(t, strings.ToLower(u.Host), u.Host)
	})
}
