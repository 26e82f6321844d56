package oauthclient

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// maxUnixSeconds keeps absurd times from servers within what every
	// encoding of a time can hold (the year 9999).
	maxUnixSeconds = 253402300799
	// maxLifetime bounds expires_in; longer means the same in practice.
	maxLifetime = 10 * 365 * 24 * time.Hour
	// maxRetryAfter bounds what a server may ask for.
	maxRetryAfter = time.Hour
)

// tokenResponse is a successful answer of the token endpoint.
type tokenResponse struct {
	accessToken, refreshToken Secret
	tokenType                 string
	lifetime                  time.Duration // 0 when unknown
	refreshLifetime           time.Duration // of the refresh token, 0 when unknown
	scopes                    []string      // nil when not stated
}

// tokenRequest sends a grant to a token endpoint (RFC 6749 sections 4.1.3 and
// 6), authenticated as client, and binds the tokens to the key bind if that is
// not zero (RFC 9449 section 5). form has all parameters of the grant. A refusal by
// the server is an [*AuthorizationError], another answer without a token a
// [*ServerError], no answer a [*TemporaryError].
func (p *OAuthProvider) tokenRequest(ctx context.Context, op, endpoint string, client Registration, bind Secret, form url.Values) (*tokenResponse, error) {
	key, err := p.cfg.proofKey(bind)
	if err != nil {
		return nil, err
	}
	client = p.withSecret(client)
	applyParams(form, p.policy.TokenParams)
	answer, err := p.postForm(ctx, op, endpoint, client, key, form)
	if err != nil {
		return nil, err
	}
	body := withoutBOM(answer.body)
	mediaType, _, _ := mime.ParseMediaType(answer.contentType)
	if mediaType == "application/x-www-form-urlencoded" {
		body = formToJSON(body) // GitHub's old habit
	}
	var refused oauthError
	if json.Unmarshal(body, &refused) == nil && refused.Code != "" {
		return nil, refused.refusal(answer, secretsOf(client, form)...)
	}
	if answer.status != http.StatusOK && answer.status != http.StatusCreated {
		return nil, &ServerError{Op: op, Server: answer.server, StatusCode: answer.status}
	}
	token, err := parseTokenResponse(body, p.policy.TokenMember, key != nil)
	if err == nil {
		err = token.check(p.cfg.MaxTokenBytes)
	}
	if err != nil {
		return nil, &ServerError{Op: op, Server: answer.server, Reason: fmt.Sprintf("%s (content type %q)", err, cleanText(mediaType, 100, nil))}
	}
	return token, nil
}

// postForm posts form to endpoint with client authentication and, if key is not
// nil, with a proof. It repeats the request once with the nonce that the server
// asks for (RFC 9449 section 8).
func (p *OAuthProvider) postForm(ctx context.Context, op, endpoint string, client Registration, key *proofKey, form url.Values) (*authAnswer, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, &DiscoveryError{Source: client.Issuer, Reason: "an endpoint is not a URL"}
	}
	if key == nil {
		return p.postOnce(ctx, op, u, client, nil, "", form)
	}
	var answer *authAnswer
	err = key.negotiate(u, op, func(nonce string) (http.Header, string, error) {
		var err error
		if answer, err = p.postOnce(ctx, op, u, client, key, nonce, form); err != nil {
			return nil, "", err
		}
		var refused oauthError
		if answer.status < 400 || json.Unmarshal(withoutBOM(answer.body), &refused) != nil {
			return answer.header, "", nil
		}
		return answer.header, refused.Code, nil
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// postOnce sends one request of postForm. Each has an assertion of the client of
// its own, because servers take each once.
func (p *OAuthProvider) postOnce(ctx context.Context, op string, endpoint *url.URL, client Registration, key *proofKey, nonce string, form url.Values) (*authAnswer, error) {
	if err := p.authenticate(form, client); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &DiscoveryError{Source: client.Issuer, Reason: "an endpoint is not a URL"}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if client.TokenEndpointAuthMethod == authMethodBasic {
		req.Header.Set("Authorization", "Basic "+basicAuth(client))
	}
	if key != nil {
		if err := key.prove(req, Secret{}, nonce, p.cfg.Now().Unix()); err != nil {
			return nil, err
		}
	}
	return p.doAuth(ctx, op, req)
}

// basicAuth returns the credentials of client_secret_basic (RFC 6749 section
// 2.3.1).
func basicAuth(client Registration) string {
	return base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(client.ClientID) + ":" + url.QueryEscape(client.ClientSecret.Reveal())))
}

// secretParams are the parameters of token and revocation requests whose values
// are secret.
var secretParams = []string{"code", "code_verifier", "refresh_token", "token", "client_secret", "client_assertion", "assertion", "subject_token"}

// secretsOf lists the secrets of a request, which its answer must not show.
func secretsOf(client Registration, form url.Values) []string {
	secrets := []string{client.ClientSecret.Reveal()}
	if !client.ClientSecret.IsZero() {
		secrets = append(secrets, basicAuth(client))
	}
	for _, name := range secretParams {
		secrets = append(secrets, form.Get(name))
	}
	return secrets
}

// proofTypes are the registered types of tokens that need a proof of possession
// (RFC 8693 section 3, RFC 9449, RFC 9200, the MAC draft).
var proofTypes = []string{"dpop", "mac", "n_a", "pop"}

// parseTokenResponse reads RFC 6749 section 5.1 leniently where servers differ
// and harm is out of the question: numbers as strings, scopes in a list or with
// commas, no token type or a home-made one. proved says that the request had a
// proof: the token may be bound to its key, so its type must be DPoP or Bearer
// (RFC 9449 section 5). Where there is an object with a token in the member inner,
// it is the answer.
func parseTokenResponse(body []byte, inner string, proved bool) (*tokenResponse, error) {
	r, err := parseDocument(body)
	if err != nil {
		return nil, errors.New("the answer is no token response")
	}
	if nested, err := parseDocument(r[inner]); err == nil && nested.text("access_token") != "" {
		r = nested
	}
	access, tokenType := r.text("access_token"), tokenTypeBearer
	switch {
	case access == "":
		return nil, errors.New("the answer is no token response")
	case strings.ContainsFunc(access, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, errors.New("the access token has characters that no header can carry")
	case proved && strings.EqualFold(r.text("token_type"), tokenTypeDPoP):
		tokenType = tokenTypeDPoP
	case proved && !strings.EqualFold(r.text("token_type"), tokenTypeBearer):
		return nil, errors.New("the token type is neither DPoP nor Bearer")
	case slices.Contains(proofTypes, strings.ToLower(r.text("token_type"))):
		return nil, errors.New("the token type is not Bearer")
	}
	out := &tokenResponse{accessToken: NewSecret(access), refreshToken: NewSecret(r.text("refresh_token")), tokenType: tokenType, scopes: r.scopes("scope")}
	out.lifetime = lifetime(r, "expires_in")
	out.refreshLifetime = lifetime(r, refreshLifetimeMembers...)
	return out, nil
}

// refreshLifetimeMembers hold the seconds that a refresh token lives. No RFC
// names such a member: the first is that of GitHub, Microsoft and most others, the
// second that of Keycloak, the third that of Intuit.
var refreshLifetimeMembers = []string{"refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"}

// lifetime returns the first of several members that holds a number of seconds,
// or 0.
func lifetime(r document, names ...string) time.Duration {
	for _, name := range names {
		if seconds := r.number(name); seconds > 0 {
			return time.Duration(min(seconds, maxLifetime.Seconds()) * float64(time.Second))
		}
	}
	return 0
}

// check reports whether a token is longer than [Shared.MaxTokenBytes].
func (t *tokenResponse) check(maxBytes int) error {
	if n := max(len(t.accessToken.Reveal()), len(t.refreshToken.Reveal())); n > maxBytes {
		return fmt.Errorf("a token of %d bytes, MaxTokenBytes allows %d", n, maxBytes)
	}
	return nil
}

// apply makes the answer the present tokens of c. requested are the scopes
// that hold when the answer names none.
func (t *tokenResponse) apply(c *Credentials, now time.Time, ahead time.Duration, requested []string) {
	c.AccessToken, c.TokenType = t.accessToken, t.tokenType
	if !t.refreshToken.IsZero() {
		c.RefreshToken, c.RefreshExpiry = t.refreshToken, time.Time{}
	}
	if !c.RefreshToken.IsZero() && t.refreshLifetime > 0 {
		c.RefreshExpiry = now.Add(t.refreshLifetime)
	}
	c.Expiry, c.RefreshAfter = time.Time{}, time.Time{}
	if t.lifetime > 0 {
		c.Expiry = now.Add(t.lifetime)
		c.RefreshAfter = c.Expiry.Add(-min(ahead, t.lifetime/5))
	}
	c.Scopes = requested
	if len(t.scopes) > 0 {
		c.Scopes = t.scopes
	}
}

// formToJSON rewrites a form-encoded answer as JSON.
func formToJSON(body []byte) []byte {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return body
	}
	flat := make(map[string]string, len(values))
	for name := range values {
		flat[name] = values.Get(name)
	}
	out, _ := json.Marshal(flat) // a map of strings cannot fail
	return out
}

// oauthError is an error answer (RFC 6749 section 5.2, RFC 7591 section 3.2.2).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// UnmarshalJSON reads an error that is a text, or an object with a code or type
// and a message, as some servers send it.
func (e *oauthError) UnmarshalJSON(data []byte) error {
	var r struct {
		Error       json.RawMessage `json:"error"`
		Description json.RawMessage `json:"error_description"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	*e = oauthError{}
	_ = json.Unmarshal(r.Description, &e.Description) // of another type: as if absent
	var nested struct {
		Code    any    `json:"code"`
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	if json.Unmarshal(r.Error, &e.Code) == nil || json.Unmarshal(r.Error, &nested) != nil {
		return nil
	}
	code, _ := nested.Code.(string)
	e.Code, e.Description = cmp.Or(code, nested.Type), cmp.Or(e.Description, nested.Message)
	if e.Code == "" && e.Description != "" {
		e.Code = "error"
	}
	return nil
}

func (e oauthError) authorizationError(secrets ...string) *AuthorizationError {
	return &AuthorizationError{Code: cleanText(e.Code, 64, secrets), Description: cleanText(e.Description, 200, secrets)}
}

// refusal is authorizationError for an answer to a request.
func (e oauthError) refusal(answer *authAnswer, secrets ...string) *AuthorizationError {
	refused := e.authorizationError(secrets...)
	refused.Server = answer.server
	return refused
}

// cleanText makes a server's text fit for a log and a person: printable,
// short, and without any of secrets.
func cleanText(text string, limit int, secrets []string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// parseRetryAfter reads a Retry-After header (RFC 9110 section 10.2.3).
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return min(max(0, time.Duration(min(seconds, 1<<30))*time.Second), maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
