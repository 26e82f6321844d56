package oauthclient_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func tokenAnswer(body string) http.HandlerFunc {
	return authtest.Body(http.StatusOK, "application/json", body)
}

// Servers express the life of a token in many ways, and some not at all.
func TestTokenLife_FormsOfExpiresIn(t *testing.T) {
	t.Parallel()
	const longest = 10 * 365 * 24 * time.Hour // the most that is believed
	rows := []struct {
		name, expiresIn string // the JSON of expires_in
		want            time.Duration
	}{
		{"number", `3600`, time.Hour},
		{"string", `"3600"`, time.Hour},
		{"fraction", `90.5`, 90*time.Second + 500*time.Millisecond},
		{"exponent", `3.6e3`, time.Hour},
		{"absent", ``, 0},
		{"null", `null`, 0},
		{"zero", `0`, 0},
		{"zero as a string", `"0"`, 0},
		{"negative", `-60`, 0},
		{"huge", `1e300`, longest},
		{"huge integer", `99999999999999999999`, longest},
		{"beyond the floats", `1e999`, 0},
		{"not a number", `"soon"`, 0},
		{"NaN", `"NaN"`, 0},
		{"an object", `{"seconds":3600}`, 0},
		{"a list", `[3600]`, 0},
		{"true", `true`, 0},
		{"empty string", `""`, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client()
			resp := w.approve(w.begin(c))
			token := w.as.Issue("alice", w.mcp.URL())
			body := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","refresh_token":"r"`, token)
			if row.expiresIn != "" {
				body += `,"expires_in":` + row.expiresIn
			}
			w.as.SetOutage(authtest.EndpointToken, tokenAnswer(body+`}`))
			require.NoError(t, c.FinishAuth(t.Context(), resp))
			w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(500))
			w.as.Reset()
			creds := w.stored()
			if row.want == 0 {
				require.True(t, creds.Expiry.IsZero(), "use until a 401")
				w.clock.Advance(59 * time.Minute)
			} else {
				require.Equal(t, w.clock.Now().Add(row.want), creds.Expiry)
				require.True(t, creds.RefreshAfter.Before(creds.Expiry))
			}
			require.NoError(t, w.call(c))
			require.Empty(t, w.as.Requests(""))
			data, err := creds.MarshalBinary()
			require.NoError(t, err, "an expiry that cannot be stored is no expiry")
			var again oauthclient.Credentials
			require.NoError(t, again.UnmarshalBinary(data))
			require.True(t, creds.Expiry.Equal(again.Expiry))
		})
	}
}

func TestOddTokenAnswers(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, contentType, body string }{
		{"no token type", "application/json", `{"access_token":"%s"}`},
		{"token type in other case", "application/json", `{"access_token":"%s","token_type":"bEARER"}`},
		{"no content type", "", `{"access_token":"%s","token_type":"Bearer"}`},
		{"form-encoded (GitHub)", "application/x-www-form-urlencoded; charset=utf-8", `access_token=%s&token_type=bearer&scope=read&expires_in=60`},
		{"null members", "application/json", `{"access_token":"%s","token_type":null,"refresh_token":null,"scope":null,"error":null}`},
		{"scope as a list (Twitch)", "application/json", `{"access_token":"%s","scope":["read","write"]}`},
		{"scope with commas (GitHub)", "application/json", `{"access_token":"%s","scope":"read,write"}`},
		{"token type user (Slack)", "application/json", `{"access_token":"%s","token_type":"user"}`},
		{"token type bot", "application/json", `{"access_token":"%s","token_type":"bot"}`},
		{"token type JWT", "application/json", `{"access_token":"%s","token_type":"JWT"}`},
		{"token type of another type", "application/json", `{"access_token":"%s","token_type":["Bearer"]}`},
		{"refresh token of another type", "application/json", `{"access_token":"%s","refresh_token":{}}`},
		{"byte order mark", "application/json; charset=utf-8", "\xef\xbb\xbf" + `{"access_token":"%s"}`},
		{"text/json", "text/json", `{"access_token":"%s"}`},
		{"scope of another type", "application/json", `{"access_token":"%s","scope":{"read":true}}`},
		{"byte order and unknown members", "application/json", `{"id_token":"x","x":{"y":[1]},"access_token":"%s"}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client()
			resp := w.approve(w.begin(c))
			body := fmt.Sprintf(row.body, w.as.Issue("alice", w.mcp.URL()))
			w.as.SetOutage(authtest.EndpointToken, authtest.Body(http.StatusOK, row.contentType, body))
			require.NoError(t, c.FinishAuth(t.Context(), resp))
			require.NoError(t, w.call(c))
			require.Equal(t, "Bearer", w.stored().TokenType)
			if strings.Contains(row.body, `["read","write"]`) || strings.Contains(row.body, "read,write") {
				require.Equal(t, []string{"read", "write"}, w.stored().Scopes)
			}
		})
	}
}

// What an answer without a token is taken for.
const (
	temporary = "temporary" // it may pass
	unusable  = "unusable"  // it says nothing
	refused   = "refused"   // only the user can help
	dead      = "dead"      // the refresh token is no more
)

// badTokenAnswers are answers without a token.
var badTokenAnswers = []struct {
	name   string
	means  string
	answer http.HandlerFunc
}{
	{"500", temporary, authtest.StatusOutage(500)},
	{"502", temporary, authtest.StatusOutage(502)},
	{"503", temporary, authtest.StatusOutage(503)},
	{"429", temporary, authtest.StatusOutage(429)},
	{"408", temporary, authtest.StatusOutage(408)},
	{"500 that looks like invalid_grant", temporary, authtest.OAuthError(500, "invalid_grant", "the database is down")},
	{"cut", temporary, authtest.Abort()},

	{"404", refused, authtest.StatusOutage(404)},
	{"410", refused, authtest.StatusOutage(410)},
	{"403 of a firewall", refused, authtest.Body(403, "text/html", "<html>blocked</html>")},
	{"401 without an error code", refused, authtest.Body(401, "application/json", `{}`)},
	{"error that is an object", refused, authtest.Body(400, "application/json", `{"error":{"code":401,"message":"gone"}}`)},
	{"temporarily_unavailable with 400", refused, authtest.OAuthError(400, "temporarily_unavailable", "later")},
	{"invalid_request", refused, authtest.OAuthError(400, "invalid_request", "?")},
	{"unauthorized_client", refused, authtest.OAuthError(400, "unauthorized_client", "?")},
	{"interaction_required", refused, authtest.OAuthError(400, "interaction_required", "?")},
	{"invalid_refresh_token", refused, authtest.OAuthError(400, "invalid_refresh_token", "?")},
	{"invalid_scope", refused, authtest.OAuthError(400, "invalid_scope", "?")},
	{"server_error with 200", refused, tokenAnswer(`{"error":"server_error"}`)},
	{"invalid_client", refused, authtest.OAuthError(401, "invalid_client", "?")},

	{"invalid_grant", dead, authtest.OAuthError(400, "invalid_grant", "?")},
	{"invalid_grant with 401", dead, authtest.OAuthError(401, "invalid_grant", "?")},
	{"invalid_grant in an object", dead, authtest.Body(400, "application/json", `{"error":{"code":"invalid_grant"}}`)},
	{"bad_refresh_token with 200", dead, tokenAnswer(`{"error":"bad_refresh_token"}`)},

	{"malformed JSON", unusable, authtest.MalformedJSON()},
	{"empty", unusable, tokenAnswer(``)},
	{"null", unusable, tokenAnswer(`null`)},
	{"list", unusable, tokenAnswer(`[]`)},
	{"string", unusable, tokenAnswer(`"token"`)},
	{"empty object", unusable, tokenAnswer(`{}`)},
	{"HTML", unusable, authtest.Body(200, "text/html", "<html>Sign in</html>")},
	{"empty token", unusable, tokenAnswer(`{"access_token":""}`)},
	{"token of another type", unusable, tokenAnswer(`{"access_token":123}`)},
	{"token with a line break (header injection)", unusable, tokenAnswer(`{"access_token":"a\r\nX-Evil: 1"}`)},
	{"token with a space", unusable, tokenAnswer(`{"access_token":"a b"}`)},
	{"token that no header can carry", unusable, tokenAnswer(`{"access_token":"tökén"}`)},
	{"a token that needs a MAC", unusable, tokenAnswer(`{"access_token":"a","token_type":"mac"}`)},
	{"a token that needs a DPoP proof", unusable, tokenAnswer(`{"access_token":"a","token_type":"DPoP"}`)},
	{"a token that is none", unusable, tokenAnswer(`{"access_token":"a","token_type":"N_A"}`)},
	{"endless", unusable, func(rw http.ResponseWriter, _ *http.Request) {
		for range 40 {
			_, _ = rw.Write(make([]byte, 64<<10))
		}
	}},
	{"redirect", unusable, func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
	}},
}

func TestBadTokenAnswersAtExchange(t *testing.T) {
	t.Parallel()
	for _, row := range badTokenAnswers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client()
			resp := w.approve(w.begin(c))
			w.as.SetOutage(authtest.EndpointToken, row.answer)
			err := c.FinishAuth(t.Context(), resp)
			_, passes := errors.AsType[*oauthclient.TemporaryError](err)
			require.Equal(t, row.means == temporary, passes, "%v", err)
			_, refusal := errors.AsType[*oauthclient.AuthorizationError](err)
			answer, other := errors.AsType[*oauthclient.ServerError](err)
			require.True(t, passes || refusal || other, "%v", err)
			require.True(t, !other || answer.Op != "", "it is not the MCP server's: %v", err)
			require.False(t, w.stored().Authorized())
			require.Len(t, w.as.Requests(authtest.EndpointToken), 1)
			require.Empty(t, w.as.Requests(authtest.EndpointOther), "a code is not sent to where a redirect points")
			w.as.SetOutage(authtest.EndpointToken, nil)
			w.finish(c, w.begin(c))
			require.NoError(t, w.call(c))
		})
	}
}

// What a server says about an error is untrusted text that may repeat secrets.
func TestErrorDescriptionIsCleaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AssignAuthMethod: authtest.AuthPost}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	w.as.SetOutage(authtest.EndpointToken, func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		authtest.OAuthError(400, "invalid_grant", fmt.Sprintf("code %s\n\x1b[31m verifier %s secret %s %s",
			r.Form.Get("code"), r.Form.Get("code_verifier"), r.Form.Get("client_secret"), strings.Repeat("ä", 300)))(rw, r)
	})
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, c.FinishAuth(t.Context(), resp), &refused)
	require.Equal(t, "invalid_grant", refused.Code)
	sent := w.as.Requests(authtest.EndpointToken)[0].Form
	for _, name := range []string{"code", "code_verifier", "client_secret"} {
		require.NotEmpty(t, sent.Get(name))
		require.NotContains(t, refused.Description, sent.Get(name))
	}
	require.Contains(t, refused.Description, "code [redacted]  [31m verifier")
	require.LessOrEqual(t, len(refused.Description), 204)
	require.NotContains(t, refused.Error(), "\x1b")
}

// Slack gives a bot's token, and the user's in a member.
func TestTokenMember(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, body, member string
		want               string // the token, "" for a temporary error
	}{
		{"nested", `{"ok":true,"authed_user":{"id":"U1","access_token":"user-token","token_type":"user","refresh_token":"r"}}`, "authed_user", "user-token"},
		{"nested, beside a bot's", `{"access_token":"bot-token","authed_user":{"access_token":"user-token"}}`, "authed_user", "user-token"},
		{"not nested after all", `{"access_token":"top-token"}`, "authed_user", "top-token"},
		{"nested without a token", `{"access_token":"top-token","authed_user":{"id":"U1"}}`, "authed_user", "top-token"},
		{"no policy", `{"ok":true,"authed_user":{"access_token":"user-token"}}`, "", ""},
		{"a member of another type", `{"authed_user":"user-token"}`, "authed_user", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client(policy(oauthclient.ServerPolicy{TokenMember: row.member}))
			resp := w.approve(w.begin(c))
			w.as.SetOutage(authtest.EndpointToken, tokenAnswer(row.body))
			err := c.FinishAuth(t.Context(), resp)
			require.Equal(t, row.want, w.stored().AccessToken.Reveal())
			if row.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
		})
	}
}
