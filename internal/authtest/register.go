package authtest

import (
	"crypto/rand"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// serveRegister is dynamic client registration, RFC 7591 section 3.
func (s *Server) serveRegister(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || mediaType(r) != "application/json" {
		refuse("invalid_client_metadata", "POST a JSON document").write(w)
		return
	}
	// The document is echoed with what the server changed (section 3.2.1).
	doc := make(map[string]any)
	if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
		refuse("invalid_client_metadata", "not a JSON object").write(w)
		return
	}
	client, refusal := s.newClient(doc)
	if refusal != nil {
		refusal.write(w)
		return
	}
	doc["client_id"] = client.ID
	doc["client_id_issued_at"] = s.opts.Now().Unix()
	doc["token_endpoint_auth_method"] = client.AuthMethod
	doc["grant_types"] = client.GrantTypes
	doc["response_types"] = []string{"code"}
	if client.Secret != "" {
		doc["client_secret"] = client.Secret
		doc["client_secret_expires_at"] = 0
		if !client.SecretExpiresAt.IsZero() {
			doc["client_secret_expires_at"] = client.SecretExpiresAt.Unix()
		}
	}
	s.mu.Lock()
	s.clients[client.ID] = client
	s.counts.Registrations++
	s.mu.Unlock()
	writeJSON(w, http.StatusCreated, doc)
}

// newClient validates a registration request.
func (s *Server) newClient(doc map[string]any) (*Client, *oauthError) {
	redirects, ok := stringList(doc["redirect_uris"])
	if !ok || len(redirects) == 0 {
		return nil, refuse("invalid_redirect_uri", "redirect_uris is required")
	}
	for _, uri := range redirects {
		u, err := url.Parse(uri)
		if err != nil || !u.IsAbs() || u.Fragment != "" || (u.Scheme == "http" || u.Scheme == "https") && u.Host == "" {
			return nil, refuse("invalid_redirect_uri", "redirect_uris must be absolute and without a fragment")
		}
	}
	grants := []string{grantAuthorizationCode}
	if doc["grant_types"] != nil {
		if grants, ok = stringList(doc["grant_types"]); !ok || !slices.Contains(grants, grantAuthorizationCode) {
			return nil, refuse("invalid_client_metadata", "grant_types must include authorization_code")
		}
	}
	method, _ := doc["token_endpoint_auth_method"].(string)
	if method == "" {
		method = AuthBasic // the default of RFC 7591 section 2
	}
	if s.opts.AssignAuthMethod != "" {
		method = s.opts.AssignAuthMethod
	}
	if !slices.Contains(s.opts.AuthMethods, method) {
		return nil, refuse("invalid_client_metadata", "token_endpoint_auth_method is not supported")
	}
	name, _ := doc["client_name"].(string)
	scope, _ := doc["scope"].(string)
	c := &Client{
		Scopes: strings.Fields(scope),
		ID:     "client-" + rand.Text(), RedirectURIs: redirects, GrantTypes: grants,
		AuthMethod: method, Name: name, Dynamic: true,
	}
	if method != AuthNone {
		c.Secret = "secret-" + rand.Text()
		if s.opts.ClientSecretTTL > 0 {
			c.SecretExpiresAt = s.opts.Now().Add(s.opts.ClientSecretTTL)
		}
	}
	return c, nil
}

// stringList converts a decoded JSON array of strings.
func stringList(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, false
		}
		out = append(out, text)
	}
	return out, true
}

// mediaType is the request's content type without parameters.
func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}
