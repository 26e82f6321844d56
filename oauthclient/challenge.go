package oauthclient

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// challenge is what a server's WWW-Authenticate header (RFC 6750 section 3,
// RFC 9728 section 5.1) asks for. The zero value is an answer without one.
type challenge struct {
	resourceMetadata string
	scopes           []string
	errorCode        string
	description      string
	dpop, bearer     bool // it takes tokens that are bound to a key; it takes bearers

	reason Reason // why an authorization is begun, where that is known
}

// parseChallenge reads the Bearer (or DPoP) challenges; of several values for
// one parameter the first. It is lenient, because servers' headers are often a
// little malformed: what cannot be read is passed over, the status already says
// that authorization is needed, and the well-known locations remain.
func parseChallenge(h http.Header) challenge {
	var out challenge
	var algs []string
	note := func(scheme string) {
		out.dpop, out.bearer = out.dpop || scheme == "dpop", out.bearer || scheme == "bearer"
	}
	for _, line := range h.Values("WWW-Authenticate") {
		for part := range strings.SplitSeq(line, ",") { // a scheme without parameters
			note(strings.ToLower(strings.TrimSpace(part)))
		}
		eachParam(line, func(scheme, name, value string) {
			note(scheme)
			switch {
			case scheme == "dpop" && name == "algs":
				algs = append(algs, words(value)...)
			case scheme != "bearer" && scheme != "dpop" || value == "":
			case name == "resource_metadata" && out.resourceMetadata == "":
				out.resourceMetadata = value
			case name == "scope" && out.scopes == nil:
				out.scopes = words(value)
			case name == "error" && out.errorCode == "":
				out.errorCode = value
			case name == "error_description" && out.description == "":
				out.description = value
			}
		})
	}
	out.dpop = out.dpop && (algs == nil || slices.Contains(algs, dpopAlg))
	return out
}

// askChallenge sends the MCP server a ping without a token, and returns the
// challenge of its 401. Any other answer, or none, is the zero challenge: the
// well-known locations remain.
func (p *OAuthProvider) askChallenge(ctx context.Context) challenge {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.ServerURL, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		return challenge{}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	var resp *http.Response
	sent, err := p.addHeaders(req)
	if err == nil {
		observed, end := p.cfg.observeHTTP(req, "asking for the challenge")
		resp, err = (&http.Client{Transport: p.cfg.Transport, CheckRedirect: p.cfg.mcpRedirects}).Do(observed)
		end(resp, err)
	}
	if err != nil {
		p.cfg.Logger.DebugContext(ctx, "mcpoauth: the MCP server was not asked for its challenge", "error", errorText(err))
		return challenge{}
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		return challenge{}
	}
	redactChallenge(resp.Header, sent)
	return parseChallenge(resp.Header)
}

// eachParam calls fn for every auth-param of a list of challenges (RFC 9110
// section 11.6.1), names in lower case. What it cannot read it passes over, up
// to the next comma.
func eachParam(line string, fn func(scheme, name, value string)) {
	const space = " \t"
	scheme := ""
	for line = strings.TrimLeft(line, space+","); line != ""; line = strings.TrimLeft(line, space+",") {
		end := indexAny(line, space+`,="`)
		if end == 0 {
			line = line[indexAny(line, ","):]
			continue
		}
		token, rest := strings.ToLower(line[:end]), strings.TrimLeft(line[end:], space)
		value, isParam := strings.CutPrefix(rest, "=")
		if !isParam {
			scheme, line = token, rest
			continue
		}
		value = strings.TrimLeft(value, space)
		var ok bool
		if value, line, ok = paramValue(value); !ok {
			return
		}
		fn(scheme, token, value)
	}
}

// paramValue reads a token or quoted-string and returns what follows it.
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := indexAny(s, " \t,")
		return s[:end], s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// indexAny returns where the first of chars is in s, or where s ends.
func indexAny(s, chars string) int {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return i
	}
	return len(s)
}

// union returns the scopes of a and b, each once, in order of appearance. Both
// may be as long as a server likes.
func union(a, b []string) []string {
	out := make([]string, 0, len(a)+len(b))
	seen := make(map[string]bool, len(a)+len(b))
	for _, scope := range slices.Concat(a, b) {
		if !seen[scope] {
			seen[scope] = true
			out = append(out, scope)
		}
	}
	return out
}

// containsAll reports whether every scope of sub is in set.
func containsAll(set, sub []string) bool {
	known := make(map[string]bool, len(set))
	for _, scope := range set {
		known[scope] = true
	}
	return !slices.ContainsFunc(sub, func(scope string) bool { return !known[scope] })
}
