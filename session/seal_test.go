package session_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

func withKeys(keys ...[]byte) func(*session.Config) {
	return func(c *session.Config) { c.SealKeys = keys }
}

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// secretsOf collects everything confidential that a whole life of a session
// has seen.
func secretsOf(t *testing.T, w *world, id string, authURLs ...string) map[string]string {
	t.Helper()
	secrets := map[string]string{
		"session ID": id, "session secret": id[26:], "server URL": w.mcp.URL(), "callback URL": callbackURL,
		"binding": alice.Binding, "owner": "alice", "issuer": w.as.Issuer(),
	}
	for _, authURL := range authURLs {
		u, err := url.Parse(authURL)
		require.NoError(t, err)
		secrets["state "+authURL] = u.Query().Get("state")
	}
	for _, r := range w.as.Requests(authtest.EndpointToken) {
		for _, name := range []string{"code", "code_verifier", "refresh_token"} {
			if value := r.Form.Get(name); value != "" {
				secrets[name+" "+value] = value
			}
		}
	}
	for _, token := range w.mcp.Tokens() {
		secrets["access token "+token] = token
	}
	for _, c := range w.as.Clients() {
		secrets["client ID"], secrets["client secret"] = c.ID, c.Secret
	}
	return secrets
}

// No value and no key of the store contains a secret.
func TestSeal_NothingIsReadableInTheStore(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change   func(*session.Config)
		readable bool
	}{
		"sealed":                     {change: func(*session.Config) {}},
		"plaintext, to see it fails": {change: func(c *session.Config) { c.SealKeys, c.InsecurePlaintext = nil, true }, readable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{AuthMethods: []string{authtest.AuthBasic}}, mcptest.Options{})
			m := w.manager(t, row.change)
			info, required := w.connect(t, m, alice)
			_, err := m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
			require.NoError(t, err)
			id := info.ID.Reveal()
			w.as.ExpireAccessTokens()
			requireWorks(t, m, alice, id)
			require.NoError(t, m.RemoveClient(t.Context(), alice, id))

			found := 0
			for what, secret := range secretsOf(t, w, id, required.AuthURL) {
				require.NotEmpty(t, secret, what)
				for _, value := range w.store.stored() {
					if bytes.Contains(value, []byte(secret)) {
						found++
					}
				}
				for _, storeKey := range w.store.keys {
					require.NotContains(t, storeKey, secret, what)
				}
			}
			require.Equal(t, row.readable, found > 0, "%d secrets are readable", found)
		})
	}
}

// A changed stored value counts as missing: never an error that looks like an
// outage, never another session's data.
func TestTamperedRecords(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]func(value, other []byte) []byte{
		"a record copied from another key": func(_, other []byte) []byte { return other },
		"first byte flipped":               flip(0),
		"nonce flipped":                    flip(10),
		"ciphertext flipped":               flip(40),
		"tag flipped":                      func(v, _ []byte) []byte { return flip(len(v)-1)(v, nil) },
		"cut":                              func(v, _ []byte) []byte { return v[:len(v)-1] },
		"cut to the format byte":           func(v, _ []byte) []byte { return v[:1] },
		"empty":                            func([]byte, []byte) []byte { return []byte{} },
		"plaintext where keys are set":     func([]byte, []byte) []byte { return append([]byte{0}, `{"secret":"","owner":"alice"}`...) },
		"unknown format":                   func(v, _ []byte) []byte { return append([]byte{7}, v[1:]...) },
		"not ours at all":                  func([]byte, []byte) []byte { return []byte("hello") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m := w.manager(t)
			id, other := w.connected(t, m), w.connected(t, m)
			otherValue, _, err := w.mem.Get(t.Context(), "session:"+other[:26])
			require.NoError(t, err)
			require.NoError(t, w.store.rewrite("session:"+id[:26], func(v []byte) []byte { return meddle(v, otherValue) }))

			for _, replica := range []*session.Manager{m, w.manager(t)} {
				requireUnknown(t, replica, alice, id)
				requireWorks(t, replica, alice, other)
			}
		})
	}
}

func flip(i int) func(value, other []byte) []byte {
	return func(v, _ []byte) []byte {
		v[i] ^= 1
		return v
	}
}

// The same for an attempt: no caller can finish it.
func TestTamperedAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	_, first := w.connect(t, m, alice)
	_, second := w.connect(t, m, alice)
	value, _, err := w.mem.Get(t.Context(), "attempt:"+first.AttemptID)
	require.NoError(t, err)
	require.NoError(t, w.store.rewrite("attempt:"+second.AttemptID, func([]byte) []byte { return value }))

	_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, second.AuthURL))
	require.ErrorContains(t, err, "invalid authorization callback")
	require.Empty(t, w.as.TokenRequests("authorization_code"), "the code must go nowhere")
}

func TestSealKeyRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	oldKey, newKey := key(1), key(2)
	before := w.manager(t, withKeys(oldKey))
	id := w.connected(t, before)
	requireWorks(t, before, alice, id)
	_, pending := w.connect(t, before, alice)

	between := w.manager(t, withKeys(newKey, oldKey))
	requireWorks(t, between, alice, id)
	_, err := between.FinishAuth(t.Context(), alice, "", w.approve(t, pending.AuthURL))
	require.NoError(t, err, "an attempt begun before the rotation")
	require.Equal(t, 1, w.as.Counts().Registrations, "the registration still opens")
	requireUnreadable(t, w.manager(t, withKeys(newKey)), id)

	w.advance(6 * time.Minute) // the next use seals the record with the new key
	requireWorks(t, between, alice, id)
	after := w.manager(t, withKeys(newKey))
	requireWorks(t, after, alice, id)
	requireUnreadable(t, before, id)
	infos, err := after.Sessions(t.Context(), alice)
	require.NoError(t, err, "the list is sealed with the new key")
	require.Len(t, infos, 2)
	w.connected(t, between)
	w.connected(t, after)
	require.Equal(t, 1, w.as.Counts().Registrations, "the registration is sealed with the new key")
}

// requireUnreadable checks that a session whose record this replica cannot read
// is an outage.
func requireUnreadable(t *testing.T, m *session.Manager, id string) {
	t.Helper()
	var outage *session.StoreError
	_, err := m.Status(t.Context(), alice, id)
	require.ErrorAs(t, err, &outage)
	_, err = m.CallTool(t.Context(), alice, id, "echo", nil)
	require.ErrorAs(t, err, &outage)
	require.ErrorAs(t, m.RemoveClient(t.Context(), alice, id), &outage)
}

// A replica with another key is misconfigured: it overwrites nothing, and its
// log names the key that it lacks.
func TestReplicaWithoutTheKeyOverwritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	right := w.manager(t, withKeys(key(1)))
	id := w.connected(t, right)
	wrong := w.manager(t, withKeys(key(2)))
	before := w.store.records()

	requireUnreadable(t, wrong, id)
	var outage *session.StoreError
	_, err := wrong.Sessions(t.Context(), alice)
	require.ErrorAs(t, err, &outage)
	require.Regexp(t, `sealed with key [0-9a-f]{16}, which is not among Config.SealKeys`, err.Error())
	_, err = wrong.Connect(t.Context(), alice, w.params())
	require.ErrorAs(t, err, &outage, "the list of sessions and the registration cannot be read")
	_, err = wrong.Connect(t.Context(), bob, w.params())
	require.ErrorAs(t, err, &outage, "the registration cannot be read")

	after := w.store.records()
	for key, value := range before {
		require.Equal(t, value, after[key], key)
	}
	requireWorks(t, right, alice, id)
	infos, err := right.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, infos, 1)
}

// A replica of the next version adds members at all levels, which this version
// keeps.
func TestMembersOfALaterVersionAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	storeKey := "session:" + id[:26]
	require.NoError(t, w.store.rewrite(storeKey, func(v []byte) []byte {
		v, err := m.WithMember(id[:26], v, "later", `{"n":9007199254740993}`, 1)
		require.NoError(t, err)
		return v
	}))
	w.as.ExpireAccessTokens()
	requireWorks(t, m, alice, id) // refreshes, and so writes the record
	require.Equal(t, 1, w.as.Counts().Refreshes)
	value, _, err := w.mem.Get(t.Context(), storeKey)
	require.NoError(t, err)
	text, err := m.Plaintext(id[:26], value)
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(text), `"later":{"n":9007199254740993}`), "in the record, the credentials and their registration")
}

// A record of a format that this version does not know is an outage, and stays
// as it is.
func TestRecordOfALaterFormatIsAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	require.NoError(t, w.store.rewrite("session:"+id[:26], func(v []byte) []byte {
		v, err := m.WithMember(id[:26], v, "later", "1", 2)
		require.NoError(t, err)
		return v
	}))
	before := w.store.records()["session:"+id[:26]]
	requireUnreadable(t, m, id)
	require.Equal(t, before, w.store.records()["session:"+id[:26]])
}

func TestPlaintextInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, func(c *session.Config) { c.Store, c.SealKeys = memstore.New(memstore.Config{}), nil })
	requireWorks(t, m, alice, w.connected(t, m))
}
