package authtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Client is a registered client.
type Client struct {
	ID string
	// Secret is empty for a public client.
	Secret string
	// SecretExpiresAt is zero for a secret that never expires.
	SecretExpiresAt time.Time
	RedirectURIs    []string
	// AuthMethod is the only way the client may authenticate. Defaults to
	// client_secret_basic for a client with a secret, else none.
	AuthMethod string
	// Keys verify what the client signs, for [AuthPrivateKeyJWT]; those at
	// JWKSURI, where that is set.
	Keys    jose.JSONWebKeySet
	JWKSURI string
	// GrantTypes are those the client may use. Defaults to all.
	GrantTypes []string
	// Name is shown on the consent page.
	Name string
	// Scopes holds the scopes in the registration of a dynamic client.
	Scopes []string
	// Dynamic is set for a client that registered itself (RFC 7591).
	Dynamic bool
}

// AddClient registers a client as an administrator would, replacing one with
// the same ID. Dynamic is ignored.
func (s *Server) AddClient(c Client) {
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	c.GrantTypes = slices.Clone(c.GrantTypes)
	c.Dynamic = false
	if c.AuthMethod == "" {
		c.AuthMethod = AuthNone
		if c.Secret != "" {
			c.AuthMethod = AuthBasic
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = &c
}

// Clients returns the registered clients in no particular order.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Client
	for _, c := range s.clients {
		out = append(out, c.clone())
	}
	return out
}

// DropClients forgets every dynamically registered client, as servers do that
// evict them. The token endpoint answers invalid_client from then on, the
// authorization endpoint an error page without a redirect.
func (s *Server) DropClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.clients {
		if c.Dynamic {
			delete(s.clients, id)
		}
	}
}

func (c *Client) clone() Client {
	out := *c
	out.RedirectURIs = slices.Clone(c.RedirectURIs)
	out.GrantTypes = slices.Clone(c.GrantTypes)
	return out
}

// mayUse reports whether the client may use a grant type.
func (c *Client) mayUse(grantType string) bool {
	return c.GrantTypes == nil || slices.Contains(c.GrantTypes, grantType)
}

// client finds a client by its ID. A client with a metadata document that
// was not fetched is taken to have registered redirectURI.
func (s *Server) client(ctx context.Context, id, redirectURI string) (Client, error) {
	s.mu.Lock()
	c := s.clients[id]
	s.mu.Unlock()
	switch {
	case c != nil:
		return c.clone(), nil
	case !s.opts.ClientIDMetadataDocuments || !isClientIDURL(id, s.opts.ClientIDMetadataFetcher != nil):
		return Client{}, fmt.Errorf("authtest: no client %q", id)
	case s.opts.ClientIDMetadataFetcher == nil:
		return Client{ID: id, Name: id, RedirectURIs: []string{redirectURI}, AuthMethod: AuthNone}, nil
	}
	return s.fetchClient(ctx, id)
}

// isClientIDURL reports whether id has the form that
// draft-ietf-oauth-client-id-metadata-document section 3 asks for.
func isClientIDURL(id string, allowHTTP bool) bool {
	u, err := url.Parse(id)
	return err == nil && (u.Scheme == "https" || allowHTTP && u.Scheme == "http") &&
		u.Host != "" && strings.Trim(u.Path, "/") != "" && u.Fragment == "" && u.User == nil
}

func (s *Server) fetchClient(ctx context.Context, id string) (Client, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, id, nil)
	if err != nil {
		return Client{}, fmt.Errorf("authtest: client metadata document: %w", err)
	}
	resp, err := s.opts.ClientIDMetadataFetcher.Do(req)
	if err != nil {
		return Client{}, fmt.Errorf("authtest: client metadata document: %w", err)
	}
	defer resp.Body.Close()
	var doc struct {
		ClientID     string   `json:"client_id"`
		ClientName   string   `json:"client_name"`
		RedirectURIs []string `json:"redirect_uris"`
		GrantTypes   []string `json:"grant_types"`
		AuthMethod   string   `json:"token_endpoint_auth_method"`
		JWKSURI      string   `json:"jwks_uri"`
	}
	if resp.StatusCode != http.StatusOK {
		return Client{}, fmt.Errorf("authtest: client metadata document %s: status %d", id, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&doc); err != nil {
		return Client{}, fmt.Errorf("authtest: client metadata document %s: %w", id, err)
	}
	switch {
	case doc.ClientID != id:
		return Client{}, fmt.Errorf("authtest: client metadata document %s is that of %q", id, doc.ClientID)
	case len(doc.RedirectURIs) == 0:
		return Client{}, fmt.Errorf("authtest: client metadata document %s has no redirect_uris", id)
	case doc.AuthMethod == "":
		doc.AuthMethod = AuthNone
	case doc.AuthMethod != AuthNone && (doc.AuthMethod != AuthPrivateKeyJWT || doc.JWKSURI == ""):
		return Client{}, fmt.Errorf("authtest: client metadata document %s asks for %q", id, doc.AuthMethod)
	}
	if doc.GrantTypes == nil {
		doc.GrantTypes = []string{grantAuthorizationCode} // the default of RFC 7591 section 2
	}
	return Client{
		ID: id, Name: doc.ClientName, RedirectURIs: doc.RedirectURIs,
		GrantTypes: doc.GrantTypes, AuthMethod: doc.AuthMethod, JWKSURI: doc.JWKSURI,
	}, nil
}
