package authtest

import (
	"crypto/subtle"
	"net/http"
	"net/url"
)

// authenticate identifies the client of a token or revocation request. It must
// use exactly the method it registered with (OAuth 2.1 section 2.4).
func (s *Server) authenticate(r *http.Request) (Client, *oauthError) {
	id, secret, method, refusal := presentedCredentials(r)
	if refusal != nil {
		return Client{}, refusal
	}
	client, err := s.client(r.Context(), id, "")
	if err != nil {
		return Client{}, unauthorizedClient("unknown client")
	}
	if method != client.AuthMethod {
		return Client{}, unauthorizedClient("registered for " + client.AuthMethod + ", used " + method)
	}
	switch method {
	case AuthNone:
		return client, nil
	case AuthPrivateKeyJWT:
		return client, s.authenticateAssertion(r.Context(), client, secret, r.PostForm.Get("client_assertion_type"))
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(client.Secret)) != 1 {
		return Client{}, unauthorizedClient("wrong client secret")
	}
	if !client.SecretExpiresAt.IsZero() && !s.opts.Now().Before(client.SecretExpiresAt) {
		return Client{}, unauthorizedClient("client secret expired")
	}
	return client, nil
}

// presentedCredentials reads how the client authenticates.
func presentedCredentials(r *http.Request) (id, secret, method string, refusal *oauthError) {
	form := r.PostForm
	user, password, basic := r.BasicAuth()
	switch {
	case basic && (form.Has("client_secret") || form.Has("client_assertion")):
		return "", "", "", refuse("invalid_request", "more than one client authentication method")
	case basic:
		var err1, err2 error
		id, err1 = url.QueryUnescape(user)
		secret, err2 = url.QueryUnescape(password)
		if err1 != nil || err2 != nil {
			return "", "", "", unauthorizedClient("credentials are not form-encoded")
		}
		if form.Has("client_id") && form.Get("client_id") != id {
			return "", "", "", refuse("invalid_request", "client_id differs from the Authorization header")
		}
		return id, secret, AuthBasic, nil
	case r.Header.Get("Authorization") != "":
		return "", "", "", unauthorizedClient("unsupported Authorization scheme")
	case form.Has("client_assertion"):
		c, err := peek(form.Get("client_assertion"))
		if err != nil || form.Has("client_secret") || form.Has("client_id") && form.Get("client_id") != c.Subject {
			return "", "", "", unauthorizedClient("malformed or contradictory client assertion")
		}
		return c.Subject, form.Get("client_assertion"), AuthPrivateKeyJWT, nil
	case form.Has("client_secret"):
		return form.Get("client_id"), form.Get("client_secret"), AuthPost, nil
	case form.Get("client_id") == "":
		return "", "", "", unauthorizedClient("no client_id")
	}
	return form.Get("client_id"), "", AuthNone, nil
}

func unauthorizedClient(description string) *oauthError {
	return &oauthError{status: http.StatusUnauthorized, code: "invalid_client", description: description}
}
