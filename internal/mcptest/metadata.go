package mcptest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

const wellKnown = "/.well-known/oauth-protected-resource"

// SetMetadata replaces [Options.Metadata], for instance to move the server to
// another authorization server.
func (s *Server) SetMetadata(m Metadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metadata = m.clone()
}

func (s *Server) currentMetadata() Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.metadata
}

// metadataPath is the path of the document at a location.
func (s *Server) metadataPath(m Metadata, location MetadataLocation) string {
	switch location {
	case MetadataAtRoot:
		return wellKnown
	case MetadataAtCustom:
		return m.CustomPath
	}
	return wellKnown + strings.TrimSuffix(s.opts.Path, "/")
}

// metadataAt reports whether the document is served at path, and for which
// resource.
func (s *Server) metadataAt(path string) (resource string, ok bool) {
	m := s.currentMetadata()
	if m.Absent || s.opts.Verify == nil {
		return "", false
	}
	for _, location := range m.Locations {
		at := s.metadataPath(m, location)
		// For the root endpoint, clients ask with and without the slash.
		if path != at && (s.opts.Path != "/" || path != at+"/") {
			continue
		}
		return s.resourceFor(m, location), true
	}
	return "", false
}

func (s *Server) resourceFor(m Metadata, location MetadataLocation) string {
	switch {
	case m.Resource != "":
		return m.Resource
	case location == MetadataAtRoot:
		return s.origin
	}
	return s.URL()
}

// audiences are the resources a token may have been issued for.
func (s *Server) audiences() []string {
	m := s.currentMetadata()
	out := []string{s.URL()}
	for _, location := range m.Locations {
		out = append(out, s.resourceFor(m, location))
	}
	return out
}

// isAudience reports whether a token for resource is one for this server.
func (s *Server) isAudience(resource string) bool {
	return s.opts.SkipAudienceCheck || slices.ContainsFunc(s.audiences(), func(a string) bool {
		return oauthex.MatchesResource([]string{a}, resource)
	})
}

// metadataURL is the URL for the challenge; empty when there is no document.
func (s *Server) metadataURL() string {
	m := s.currentMetadata()
	if m.Absent || s.opts.Verify == nil {
		return ""
	}
	return s.origin + s.metadataPath(m, m.Locations[0])
}

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request, resource string) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	m := s.currentMetadata()
	servers := m.AuthorizationServers
	if servers == nil && s.opts.Auth != nil {
		servers = []string{s.opts.Auth.Issuer()}
	}
	body := []byte(m.Raw)
	if m.Raw == "" {
		doc := map[string]any{
			"resource":                 resource,
			"authorization_servers":    servers,
			"bearer_methods_supported": []string{"header"},
			"resource_name":            "mcptest",
		}
		if len(m.ScopesSupported) > 0 {
			doc["scopes_supported"] = m.ScopesSupported
		}
		body, _ = json.Marshal(doc)
	}
	w.Header().Set("Content-Type", "application/json")
	if m.Status != 0 {
		w.WriteHeader(m.Status)
	}
	_, _ = w.Write(body)
}
