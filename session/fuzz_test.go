package session_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

var wellFormedID = regexp.MustCompile(`^[A-Z2-7]{52}$`)

// Exactly what GenerateSessionID returns is an ID; nothing else gets as far as
// being a store key.
func FuzzSessionID(f *testing.F) {
	for _, seed := range []string{
		session.GenerateSessionID(), "", strings.Repeat("A", 51), strings.Repeat("A", 53), strings.Repeat("a", 52), strings.Repeat("0", 52), strings.Repeat("A", 51) + "\n",
		strings.Repeat("A", 51) + "=", strings.Repeat("é", 26), "session:" + strings.Repeat("A", 44), strings.Repeat("*", 52), strings.Repeat("\x00", 52), strings.Repeat("A", 25) + ":" + strings.Repeat("A", 26),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		key, secret, ok := session.SplitID(id)
		require.Equal(t, wellFormedID.MatchString(id), ok)
		if !ok {
			require.Empty(t, key+secret)
			return
		}
		require.Equal(t, id, key+secret)
		require.Len(t, key, 26)
		require.Len(t, secret, 26)
	})
}

// A sealed record opens as it was, in its own place, with a key of the ring, and
// in no other way: not with a bit flipped, cut, lengthened, relabelled as
// plaintext, moved to another record's place or read with another key.
func FuzzSealedRecord(f *testing.F) {
	f.Add([]byte("secret"), "session:A", "session:B", 0, byte(1), 0)
	f.Add([]byte("secret"), "session:A", "attempt:A", 1, byte(0x80), 1)
	f.Add([]byte(""), "", "x", 5, byte(0xff), -1)
	f.Add(bytes.Repeat([]byte("x"), 5000), "owner:A", "owner:A ", 4000, byte(3), 4000)
	f.Add([]byte("{}"), "session:A", "session:\x00A", -7, byte(16), 17)
	first, second := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	f.Fuzz(func(t *testing.T, plaintext []byte, place, other string, at int, flip byte, length int) {
		ring := sealer(t, first)
		sealed, err := ring.Seal(place, plaintext)
		require.NoError(t, err)
		if len(plaintext) > 8 {
			require.NotContains(t, string(sealed), string(plaintext))
		}
		for _, keys := range []opener{ring, sealer(t, second, first), sealer(t, first, second)} {
			opened, err := keys.Open(place, sealed)
			require.NoError(t, err)
			require.True(t, bytes.Equal(plaintext, opened))
		}
		refuse := func(keys opener, place string, value []byte, why string) {
			opened, err := keys.Open(place, value)
			require.ErrorContains(t, err, "session: a stored record ", why)
			require.Nil(t, opened)
		}
		refuse(sealer(t, second), place, sealed, "another key")
		refuse(sealer(t), place, sealed, "no key")
		if other != place {
			refuse(ring, other, sealed, "another place")
		}
		if flip != 0 {
			changed := bytes.Clone(sealed)
			changed[abs(at)%len(changed)] ^= flip
			refuse(ring, place, changed, "a changed byte")
		}
		refuse(ring, place, sealed[:abs(length)%len(sealed)], "cut")
		refuse(ring, place, append(bytes.Clone(sealed), flip), "lengthened")
		refuse(ring, place, append([]byte{0}, plaintext...), "plaintext")
		refuse(ring, place, plaintext, "no sealed record at all")
	})
}

// opener is a sealer as these tests use it.
type opener interface {
	Seal(storeKey string, plaintext []byte) ([]byte, error)
	Open(storeKey string, value []byte) ([]byte, error)
}

func sealer(t *testing.T, keys ...[]byte) opener {
	t.Helper()
	return session.NewSealer(keys)
}

// abs is n without its sign.
func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}

// Whatever is in the store, reading it does no harm, and only a caller with the
// record's secret and owner gets in.
func FuzzStoredSession(f *testing.F) {
	const key, secret = "KKKKKKKKKKKKKKKKKKKKKKKKKK", "SSSSSSSSSSSSSSSSSSSSSSSSSS"
	m, err := session.New(session.Config{Store: memstore.New(memstore.Config{})})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, m.Close()) })
	good, err := m.EncodeSession(key, secret, "alice", "TOKEN")
	require.NoError(f, err)
	for _, seed := range [][]byte{
		good, good[:len(good)/2], {}, {0}, {1}, {2, 3}, []byte("\x00null"), []byte("\x00{}"), []byte("\x00[]"), []byte(`{"secret":""}`), []byte("\x00" + `{"secret":1}`),
		[]byte("\x00" + `{"credentials":"bnVsbA=="}`), []byte("\x00" + `{"secret":"","owner":"","credentials":"e30="}`), []byte("\x00" + `{"expires":"x"}`),
		[]byte("\x00" + `{"status":"` + strings.Repeat("x", 10_000) + `","credentials":"e30="}`), []byte("\x00" + strings.Repeat("[", 20_000)),
	} {
		f.Add(seed, "alice", secret)
		f.Add(seed, "", "")
	}
	f.Fuzz(func(t *testing.T, value []byte, owner, guess string) {
		info, usable, err := m.DecodeSession(key, value, owner, guess)
		if err != nil {
			require.Zero(t, info)
			return
		}
		require.Equal(t, owner == info.Owner && key+guess == info.ID.Reveal(), usable)
		require.True(t, bytes.HasPrefix(value, []byte{0}), "a manager without keys reads plaintext only")
	})
}
