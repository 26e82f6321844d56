package authtest

import (
	"encoding/json"
	"net/http"
)

const (
	wellKnownOAuth = "/.well-known/oauth-authorization-server"
	wellKnownOIDC  = "/.well-known/openid-configuration"
)

// isMetadataPath reports whether path is one where the document is served.
func (s *Server) isMetadataPath(path string) bool {
	for _, location := range s.opts.Metadata {
		var at string
		switch location {
		case MetadataOAuth:
			at = wellKnownOAuth + s.opts.IssuerPath
		case MetadataOIDC:
			at = wellKnownOIDC + s.opts.IssuerPath
		case MetadataOIDCAppended:
			at = s.opts.IssuerPath + wellKnownOIDC
		}
		if path == at {
			return true
		}
	}
	return false
}

// serveMetadata answers with the document of RFC 8414 section 2.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	doc := map[string]any{
		"issuer":                                     s.issuer,
		"authorization_endpoint":                     s.EndpointURL(EndpointAuthorize),
		"token_endpoint":                             s.EndpointURL(EndpointToken),
		"revocation_endpoint":                        s.EndpointURL(EndpointRevoke),
		"response_types_supported":                   []string{"code"},
		"grant_types_supported":                      s.grantTypes(),
		"token_endpoint_auth_methods_supported":      s.opts.AuthMethods,
		"revocation_endpoint_auth_methods_supported": s.opts.AuthMethods,
	}
	if !s.opts.NoRegistration {
		doc["registration_endpoint"] = s.EndpointURL(EndpointRegister)
	}
	if !s.opts.OmitPKCEMethods {
		doc["code_challenge_methods_supported"] = []string{"S256"}
	}
	if len(s.opts.ScopesSupported) > 0 {
		doc["scopes_supported"] = s.opts.ScopesSupported
	}
	if s.opts.DPoP {
		doc["dpop_signing_alg_values_supported"] = []string{"ES256"}
	}
	if s.opts.ClientIDMetadataDocuments {
		doc["client_id_metadata_document_supported"] = true
	}
	switch s.opts.Iss {
	case IssAdvertised, IssMissing, IssWrong:
		doc["authorization_response_iss_parameter_supported"] = true
	}
	s.mu.Lock()
	edit := s.editMetadata
	s.mu.Unlock()
	if edit != nil {
		edit(doc)
	}
	writeJSON(w, http.StatusOK, doc)
}

func (s *Server) grantTypes() []string {
	if s.opts.NoRefreshTokens {
		return []string{grantAuthorizationCode}
	}
	return []string{grantAuthorizationCode, grantRefreshToken}
}

// writeJSON answers with v, not to be cached (RFC 6749 section 5.1).
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// oauthError is an error answer of RFC 6749 section 5.2.
type oauthError struct {
	status      int
	code        string
	description string
}

func refuse(code, description string) *oauthError {
	return &oauthError{status: http.StatusBadRequest, code: code, description: description}
}

func (e *oauthError) write(w http.ResponseWriter) {
	writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.description})
}
