package oauthclient

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"
)

// AuthorizationResponse is what the authorization server sent the browser back
// with (RFC 6749 section 4.1.2, RFC 9207).
type AuthorizationResponse struct {
	Code  Secret
	State Secret
	// Iss is the issuer, empty when the parameter is absent.
	Iss string
	// Error and ErrorDescription are set instead of Code on refusal.
	Error            string
	ErrorDescription string
}

// ParseCallbackQuery reads the query or the form of a callback. It never fails:
// where [url.ParseQuery] drops a parameter with a stray % or ;, as the texts of
// denials have them, they stay as they are.
func ParseCallbackQuery(raw string) url.Values {
	values := make(url.Values)
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name != "" {
			values.Add(unescape(name), unescape(value))
		}
	}
	return values
}

// unescape is [url.QueryUnescape] that keeps a % without two hexadecimal digits.
func unescape(s string) string {
	first, rest, found := strings.Cut(s, "%")
	out := strings.ReplaceAll(first, "+", " ")
	for found {
		var part string
		part, rest, found = strings.Cut(rest, "%")
		text, err := url.QueryUnescape("%" + part)
		if err != nil {
			text = "%" + strings.ReplaceAll(part, "+", " ")
		}
		out += text
	}
	return out
}

// ParseAuthorizationResponse reads the parameters of a callback, as
// [ParseCallbackQuery] returns them. A response that repeats one of them (OAuth
// 2.1 section 3.1 forbids it) or that has an empty iss belongs to no attempt: it
// gets no State.
func ParseAuthorizationResponse(values url.Values) AuthorizationResponse {
	for _, name := range []string{"code", "state", "iss", "error", "error_description"} {
		if len(values[name]) > 1 || name == "iss" && values.Has(name) && values.Get(name) == "" {
			return AuthorizationResponse{}
		}
	}
	return AuthorizationResponse{
		Code: NewSecret(values.Get("code")), State: NewSecret(values.Get("state")), Iss: values.Get("iss"),
		Error: values.Get("error"), ErrorDescription: values.Get("error_description"),
	}
}

// authorize begins an authorization attempt and returns it as an
// [*AuthorizationRequiredError], or the error that prevented it. Concurrent
// callers share one attempt. While it is open, later callers that need no further
// scopes share it, too.
func (p *OAuthProvider) authorize(ctx context.Context, ch challenge) error {
	if p.isDisconnected() {
		return ErrNotConnected
	}
	result, err := p.detached(ctx, "starting an authorization", p.binding+" "+strings.Join(ch.scopes, " "), 4, func(ctx context.Context) (any, error) {
		if open := p.openAttempt(ctx, ch); open != nil {
			return open, nil
		}
		return p.beginAttempt(ctx, ch, false)
	})
	if err != nil {
		return err
	}
	required := *result.(*AuthorizationRequiredError)
	if ch.reason != "" {
		required.Reason = ch.reason // callers share an attempt, and may have come to it for different reasons
	}
	return &required
}

// Reauthorize begins a new attempt in any state of the connection. With
// freshRegistration, it registers a new dynamic client first: many servers that no
// longer know a client show that only to the user. A registration is replaced at
// most once in 10 minutes; later requests get the new one. Reauthorize returns
// [*AuthorizationRequiredError], or the error that prevented it. With a [Grant] it
// runs that, and returns nil.
func (p *OAuthProvider) Reauthorize(ctx context.Context, freshRegistration bool) error {
	if p.isDisconnected() {
		return ErrNotConnected
	}
	creds, err := p.load(ctx)
	if err != nil {
		return err
	}
	ch := challenge{resourceMetadata: creds.ResourceMetadataURL, reason: ReasonRequested}
	if !p.grant.needsUser() {
		return p.grant.obtain(ctx, p, ch)
	}
	if creds.Issuer == "" {
		ch = p.askChallenge(ctx)
		ch.reason = ReasonFirstTime
	}
	result, err := p.beginAttempt(ctx, ch, freshRegistration)
	if err != nil {
		return err
	}
	return result
}

// openAttempt returns the attempt begun last, if it can still be finished and
// asks for all that ch asks for.
func (p *OAuthProvider) openAttempt(ctx context.Context, ch challenge) *AuthorizationRequiredError {
	p.mu.Lock()
	pending, ok := p.pending[p.binding]
	p.mu.Unlock()
	if !ok || !containsAll(pending.scopes, stepUpMarks(ch.scopes)) {
		return nil
	}
	if p.cfg.Now().After(pending.required.Expires.Add(-p.cfg.AttemptTTL / 2)) {
		return nil // the user needs time
	}
	if _, err := p.cfg.Attempts.Load(ctx, pending.required.AttemptID); err != nil {
		return nil
	}
	return pending.required
}

// pendingAttempt is an attempt that this process began.
type pendingAttempt struct {
	required *AuthorizationRequiredError
	scopes   []string // of the challenge that began it
}

// maxPending bounds the attempts of one connection that a process remembers, one
// for each browser. Of the others, callers get an attempt of their own.
const maxPending = 20

// forgetAttempt makes the next authorize begin a new attempt.
func (p *OAuthProvider) forgetAttempt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, p.binding)
}

// attemptEnded forgets an attempt that was taken.
func (p *OAuthProvider) attemptEnded(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.pending, func(_ string, pending pendingAttempt) bool { return pending.required.AttemptID == id })
	if len(p.pending) == 0 {
		p.pending = nil // an idle connection keeps no map
	}
}

// beginAttempt discovers, registers and stores an attempt, and makes its URL.
func (p *OAuthProvider) beginAttempt(ctx context.Context, ch challenge, freshRegistration bool) (*AuthorizationRequiredError, error) {
	creds, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	found, err := p.discover(ctx, ch)
	if err != nil {
		return nil, err
	}
	scopes := p.selectScopes(ch, found, creds)
	registration, err := p.resolveRegistration(ctx, found.server, scopes, freshRegistration)
	if err != nil {
		return nil, err
	}
	key, err := p.keyFor(ch, found, creds)
	if err != nil {
		return nil, err
	}
	state, verifier := NewSecret(rand.Text()), NewSecret(oauth2.GenerateVerifier())
	attempt := Attempt{
		ID: attemptID(state), ServerURL: p.cfg.ServerURL, Binding: p.binding, Verifier: verifier, DPoPKey: key, Issuer: found.server.Issuer,
		IssParameterSupported: found.server.AuthorizationResponseIssParameterSupported,
		TokenEndpoint:         found.server.TokenEndpoint, RevocationEndpoint: found.server.RevocationEndpoint,
		Registration: registration, ResourceMetadataURL: found.resourceMetadataURL,
		Scopes: scopes, Expires: p.cfg.Now().Add(p.cfg.AttemptTTL),
	}
	if !p.policy.SkipResourceParameter {
		attempt.Resource = found.resource
	}
	if ch.errorCode == "insufficient_scope" {
		attempt.StepUp = union(creds.StepUp, stepUpMarks(ch.scopes))
	}
	proof, err := p.cfg.proofKey(key)
	if err != nil {
		return nil, err
	}
	authURL, err := authorizationURL(found.server.AuthorizationEndpoint, attempt, state, proof, p.policy.AuthorizationParams)
	if err != nil {
		return nil, err
	}
	if err := p.cfg.Attempts.Create(ctx, attempt); err != nil {
		return nil, storageError(ctx, err)
	}
	required := &AuthorizationRequiredError{AuthURL: authURL, Scopes: attempt.Scopes, AttemptID: attempt.ID, Expires: attempt.Expires, Reason: cmp.Or(ch.reason, creds.reason())}
	p.mu.Lock()
	if p.pending == nil || len(p.pending) >= maxPending {
		p.pending = make(map[string]pendingAttempt)
	}
	p.pending[p.binding] = pendingAttempt{required, union(stepUpMarks(nil), ch.scopes)}
	p.mu.Unlock()
	p.cfg.Logger.DebugContext(ctx, "mcpoauth: authorization begun", "attempt", attempt.ID, "issuer", attempt.Issuer, "client_id", attempt.Registration.ClientID,
		"scopes", strings.Join(attempt.Scopes, " "), "reason", string(required.Reason))
	if p.cfg.OnRedirect != nil {
		p.cfg.OnRedirect(authURL)
	}
	if p.cfg.OnAuthorizationRequired != nil {
		p.cfg.OnAuthorizationRequired(ctx, required)
	}
	return required, nil
}

// selectScopes returns the scopes to ask for: the challenge's, else the scopes
// that the resource supports, else none (MCP "Scope Selection Strategy"). It adds
// the scopes that the same server has granted already, so that a step-up loses
// none, and offline_access if the server offers it, which asks for a refresh token
// (SEP-2207).
func (p *OAuthProvider) selectScopes(ch challenge, found *discovered, creds Credentials) []string {
	var granted []string
	if creds.Issuer == found.server.Issuer {
		granted = creds.Scopes
	}
	if !p.grant.needsUser() {
		found.server.ScopesSupported = nil // no scope asks for a refresh token
		found.scopes = withoutOffline(found.scopes)
	}
	if len(p.policy.Scopes) > 0 {
		if ch.errorCode == "insufficient_scope" {
			return union(union(granted, p.policy.Scopes), ch.scopes)
		}
		return slices.Clone(p.policy.Scopes)
	}
	scopes := ch.scopes
	if len(scopes) == 0 {
		scopes = found.scopes
	}
	scopes = union(granted, scopes)
	if slices.Contains(found.server.ScopesSupported, "offline_access") {
		scopes = union(scopes, []string{"offline_access"})
	}
	return scopes
}

// authorizationURL builds the URL for the browser (RFC 6749 section 4.1.1,
// RFC 7636 section 4.3, RFC 8707 section 2.1), with a policy's parameters.
func authorizationURL(endpoint string, a Attempt, state Secret, proof *proofKey, params url.Values) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", &DiscoveryError{Source: a.Issuer, Reason: "authorization_endpoint is not a URL"}
	}
	q := u.Query()
	q.Set("response_type", "code")
	q.Set("client_id", a.Registration.ClientID)
	q.Set("redirect_uri", a.Registration.RedirectURI)
	q.Set("state", state.Reveal())
	q.Set("code_challenge", oauth2.S256ChallengeFromVerifier(a.Verifier.Reveal()))
	q.Set("code_challenge_method", "S256")
	if len(a.Scopes) > 0 {
		q.Set("scope", strings.Join(a.Scopes, " "))
	}
	if a.Resource != "" {
		q.Set("resource", a.Resource)
	}
	if proof != nil {
		q.Set("dpop_jkt", proof.thumbprint) // RFC 9449 section 10
	}
	if slices.Contains(a.Scopes, "offline_access") {
		q.Set("prompt", "consent") // OpenID Connect Core section 11 requires it with offline_access
	}
	applyParams(q, params)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // some servers take a plus sign for a plus sign
	if len(u.RawQuery) > maxAuthQueryBytes {
		return "", &DiscoveryError{Source: a.Issuer, Reason: "it and the server together ask for more than an authorization URL can carry"}
	}
	return u.String(), nil
}

// maxAuthQueryBytes bounds the query of an authorization URL, because MCP servers
// choose the scopes in it. Most authorization servers take 8 KiB at most.
const maxAuthQueryBytes = 16 << 10

// FinishAuth completes the attempt that the response belongs to: it checks
// state and iss, ends the attempt, and exchanges the code for tokens. It does not
// finish an attempt of another server or redirect URI.
//
// Errors: [ErrInvalidCallback] for a response that belongs to no attempt here;
// [*AuthorizationError] if the user or the server refused; [*TemporaryError] if the
// token endpoint could not be reached; [*ServerError] if its answer cannot be used.
// All but the first end the attempt, because a code must not be sent twice.
func (p *OAuthProvider) FinishAuth(ctx context.Context, resp AuthorizationResponse) error {
	if resp.State.IsZero() {
		return ErrInvalidCallback
	}
	attempt, err := p.cfg.Attempts.Load(ctx, resp.AttemptID())
	if err != nil {
		return invalidCallback(ctx, err)
	}
	if attempt.ServerURL != p.cfg.ServerURL || attempt.Registration.RedirectURI != p.cfg.CallbackURL {
		return ErrInvalidCallback // an AttemptStore may serve several connections
	}
	if !issValid(attempt, resp.Iss) || (resp.Code.IsZero() == (resp.Error == "")) {
		return ErrInvalidCallback
	}
	if attempt, err = p.cfg.Attempts.Take(ctx, attempt.ID); err != nil {
		return invalidCallback(ctx, err)
	}
	p.attemptEnded(attempt.ID)
	_, err = p.detached(ctx, "exchanging the code", attempt.ID, 4, func(ctx context.Context) (any, error) {
		// An error that the browser brings proves nothing about the shared
		// client: any user who begins an attempt can make one up.
		if resp.Error == "invalid_scope" {
			p.forgetScopes(ctx)
		}
		if resp.Error != "" {
			return nil, oauthError{resp.Error, resp.ErrorDescription}.authorizationError(resp.State.Reveal())
		}
		return nil, p.exchange(ctx, attempt, resp.Code)
	})
	return err
}

// forgetScopes forgets the granted scopes, so that the next authorization does not
// ask for them: the server refused a scope that it may once have granted.
func (p *OAuthProvider) forgetScopes(ctx context.Context) {
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		if c.usable(p.cfg.Now()) {
			return errKeep
		}
		c.Scopes, c.StepUp = nil, nil
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot update the credentials", "error", err)
	}
}

// invalidCallback returns [ErrInvalidCallback] for an attempt that does not exist,
// and a storage error for an outage of the store.
func invalidCallback(ctx context.Context, err error) error {
	if errors.Is(err, ErrNoAttempt) {
		return ErrInvalidCallback
	}
	return storageError(ctx, err)
}

// issValid applies the table of RFC 9207 section 2.4 and MCP 2026-07-28: a
// promised iss must be there, and one that is there must be the issuer's.
func issValid(a Attempt, iss string) bool {
	if iss == "" {
		return !a.IssParameterSupported
	}
	return iss == a.Issuer
}

// exchange sends the authorization_code grant (RFC 6749 section 4.1.3) and
// stores the tokens.
func (p *OAuthProvider) exchange(ctx context.Context, a Attempt, code Secret) error {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code.Reveal()},
		"redirect_uri": {a.Registration.RedirectURI}, "code_verifier": {a.Verifier.Reveal()},
	}
	if a.Resource != "" {
		form.Set("resource", a.Resource)
	}
	token, err := p.tokenRequest(ctx, "exchanging the code", a.TokenEndpoint, a.Registration, a.DPoPKey, form)
	if err != nil {
		var refused *AuthorizationError
		if errors.As(err, &refused) && refused.Code == "invalid_client" {
			p.dropRegistration(ctx, a.Registration)
		}
		return err
	}
	granted := Credentials{
		StepUp: a.StepUp, DPoPKey: a.DPoPKey, Issuer: a.Issuer, TokenEndpoint: a.TokenEndpoint, RevocationEndpoint: a.RevocationEndpoint,
		Resource: a.Resource, ResourceMetadataURL: a.ResourceMetadataURL, Registration: a.Registration,
		Connection: newConnection(nil, nil), // another account may have authorized
	}
	token.apply(&granted, p.cfg.Now(), p.cfg.RefreshAhead, a.Scopes)
	granted.answers.issued(p.cfg.Now(), false)
	var revocable Credentials
	err = p.storeGrant(ctx, granted.AccessToken, func(old Credentials) Credentials {
		next := granted
		next.answers.granted(old.answers)
		revocable = next.replace(old)
		return next
	})
	if err != nil {
		p.revokeLogged(ctx, granted) // these tokens can never be used
		return storageError(ctx, err)
	}
	p.revokeLogged(ctx, revocable)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backoff = nil // it was about other tokens
	return nil
}

// storeGrant stores the credentials of a new grant, unless the user has left
// while the code was exchanged.
func (p *OAuthProvider) storeGrant(ctx context.Context, accessToken Secret, next func(old Credentials) Credentials) error {
	if p.isDisconnected() {
		return ErrNotConnected
	}
	if err := p.cfg.Credentials.Replace(ctx, next); err != nil || !p.isDisconnected() {
		return err
	}
	// Disconnect may have dropped the credentials just before.
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		if !c.AccessToken.Equal(accessToken) {
			return errKeep
		}
		*c = Credentials{Connection: newConnection(nil, nil)}
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		return err
	}
	return ErrNotConnected
}

// maxReplaced bounds [Credentials.Replaced]: a refresh token can be 2 KiB, and
// all are in the record of the connection.
const maxReplaced = 4

// replace notes in c the refresh tokens that c replaces. If they belong to another
// authorization server or client, it returns them instead, to be revoked now.
func (c *Credentials) replace(old Credentials) (revocable Credentials) {
	if old.Issuer != c.Issuer || old.Registration.ClientID != c.Registration.ClientID {
		return old
	}
	for _, token := range append([]Secret{old.RefreshToken}, old.Replaced...) {
		if !token.IsZero() && !token.Equal(c.RefreshToken) && len(c.Replaced) < maxReplaced {
			c.Replaced = append(c.Replaced, token)
		}
	}
	return Credentials{}
}
