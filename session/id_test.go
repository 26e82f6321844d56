package session_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

func TestGenerateSessionID(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[A-Z2-7]{52}$`)
	seen := map[string]bool{}
	for range 100 {
		id := session.GenerateSessionID()
		require.Regexp(t, form, id)
		require.False(t, seen[id[:26]] || seen[id[26:]], "key and secret are random each")
		seen[id[:26]], seen[id[26:]] = true, true
	}
}

// Whatever is wrong with an ID, the answer is the same value, and nothing is
// asked of the store for what cannot be an ID.
func TestIDsThatDoNotWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	key, secret := id[:26], id[26:]
	other := session.GenerateSessionID()
	for name, bad := range map[string]string{
		"empty":                        "",
		"the key alone":                key,
		"a byte short":                 id[:51],
		"a byte long":                  id + "A",
		"lower case":                   strings.ToLower(id),
		"outside of base32":            key + "1" + secret[1:],
		"not ASCII":                    key + "ÄÄÄÄÄÄÄÄÄÄÄÄÄ",
		"store key injection":          "owner:" + id[6:],
		"right key, wrong secret":      key + other[26:],
		"right key, one byte changed":  id[:51] + flipped(id[51]),
		"right key, the key as secret": key + key,
		"wrong key, right secret":      other[:26] + secret,
		"unknown":                      other,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireUnknown(t, m, alice, bad)
		})
	}
}

func flipped(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// requireUnknown checks that every method gives the one answer for a session
// that the caller may not have.
func requireUnknown(t *testing.T, m *session.Manager, caller session.Caller, id string) {
	t.Helper()
	ctx := t.Context()
	for method, call := range map[string]func() error{
		"ListTools":    func() error { _, err := m.ListTools(ctx, caller, id); return err },
		"CallTool":     func() error { _, err := m.CallTool(ctx, caller, id, "echo", nil); return err },
		"Status":       func() error { _, err := m.Status(ctx, caller, id); return err },
		"GetClient":    func() error { _, err := m.GetClient(ctx, caller, id); return err },
		"TokenSource":  func() error { _, err := m.TokenSource(ctx, caller, id); return err },
		"RemoveClient": func() error { return m.RemoveClient(ctx, caller, id) },
	} {
		require.Equal(t, session.ErrNotFound, call(), method) //nolint:testifylint // the very same value, wrapped in nothing
	}
}
