package session

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// maxHeaderBytes bounds the headers of a session, names and values.
const maxHeaderBytes = 8 << 10

// checkHeaderName returns why a name cannot be allowed.
func checkHeaderName(name string, asKey bool) error {
	if http.CanonicalHeaderKey(name) == "Authorization" && !asKey {
		return errors.New("has the name of the header that a token is in; see AllowKeyHeaders")
	}
	return oauthclient.CheckHeader(name, "x")
}

func canonicalHeaders(names []string) (canonical []string) {
	for _, name := range names {
		canonical = append(canonical, http.CanonicalHeaderKey(name))
	}
	return canonical
}

// checkHeaders returns the headers of [ConnectParams] by canonical name. Its
// errors contain no value.
func (m *Manager) checkHeaders(given map[string]oauthclient.Secret) (map[string]string, error) {
	headers := make(map[string]string, len(given))
	size := 0
	for name, value := range given {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !slices.Contains(m.cfg.AllowHeaders, canonical) && !slices.Contains(m.cfg.AllowKeyHeaders, canonical):
			return nil, &InputError{Field: "Headers", Reason: "has a name that is not allowed here"}
		case headers[canonical] != "":
			return nil, &InputError{Field: "Headers", Reason: "has a name twice"}
		}
		if err := oauthclient.CheckHeader(canonical, value.Reveal()); err != nil {
			return nil, &InputError{Field: "Headers." + canonical, Reason: err.Error()}
		}
		headers[canonical] = value.Reveal()
		size += len(canonical) + len(value.Reveal())
	}
	if size > maxHeaderBytes {
		return nil, &InputError{Field: "Headers", Reason: "is too long"}
	}
	if len(headers) == 0 {
		return nil, nil //nolint:nilnil // no headers
	}
	return headers, nil
}

// allowed returns the headers of a session that the host still allows.
func (m *Manager) allowed(r *record) map[string]oauthclient.Secret {
	allowed := make(map[string]oauthclient.Secret, len(r.Headers))
	for name, value := range r.Headers {
		if slices.Contains(m.cfg.AllowHeaders, name) || slices.Contains(m.cfg.AllowKeyHeaders, name) {
			allowed[name] = oauthclient.NewSecret(value)
		}
	}
	return allowed
}

// keyed reports whether the headers of a session take the place of OAuth.
func (m *Manager) keyed(r *record) bool {
	for name := range r.Headers {
		if slices.Contains(m.cfg.AllowKeyHeaders, name) {
			return true
		}
	}
	return false
}

// headers returns the function that gives a session's client its headers, nil if
// there are none.
func (m *Manager) headers(s stored) func(context.Context) (http.Header, error) {
	if len(s.Headers) == 0 && m.cfg.HeaderProvider == nil {
		return nil
	}
	own := make(http.Header, len(s.Headers))
	for name, value := range m.allowed(s.record) {
		own.Set(name, value.Reveal())
	}
	if m.cfg.HeaderProvider == nil {
		return func(context.Context) (http.Header, error) { return own, nil }
	}
	info := m.info(s)
	return func(ctx context.Context) (http.Header, error) {
		provided, err := m.cfg.HeaderProvider(ctx, info)
		if err != nil {
			return nil, err
		}
		all := maps.Clone(own)
		for name, values := range provided {
			all[http.CanonicalHeaderKey(name)] = values
		}
		return all, nil
	}
}
