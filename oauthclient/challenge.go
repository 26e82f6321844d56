package oauthclient

import (
	"net/http"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// challenge is what a server's WWW-Authenticate header (RFC 6750 section 3,
// RFC 9728 section 5.1) asks for. The zero value is an answer without one.
type challenge struct {
	resourceMetadata string
	scopes           []string
	errorCode        string
}

// parseChallenge reads the Bearer (or DPoP) challenges. A malformed header is
// no challenge: the status already says that authorization is needed, and the
// well-known locations remain.
func parseChallenge(h http.Header) challenge {
	var out challenge
	for _, line := range h.Values("WWW-Authenticate") {
		challenges, err := oauthex.ParseWWWAuthenticate([]string{line})
		if err != nil {
			continue
		}
		for _, c := range challenges {
			if c.Scheme != "bearer" && c.Scheme != "dpop" {
				continue
			}
			if out.resourceMetadata == "" {
				out.resourceMetadata = c.Params["resource_metadata"]
			}
			if len(out.scopes) == 0 {
				out.scopes = strings.Fields(c.Params["scope"])
			}
			if out.errorCode == "" {
				out.errorCode = c.Params["error"]
			}
		}
	}
	return out
}

// union returns the scopes of a and b, each once, in order of appearance.
func union(a, b []string) []string {
	out := make([]string, 0, len(a)+len(b))
	for _, scope := range slices.Concat(a, b) {
		if !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	return out
}

// containsAll tells whether every scope of sub is in set.
func containsAll(set, sub []string) bool {
	return !slices.ContainsFunc(sub, func(scope string) bool { return !slices.Contains(set, scope) })
}
