package storetest

import (
	"encoding/binary"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// handleCases are about what one handle sees of another.
func handleCases() []testCase {
	return []testCase{
		{"PeerSharesRecords", checkPeerSharesRecords},
		{"PeerCatchesUp", checkPeerCatchesUp},
		{"OwnWritesAreSeen", checkOwnWritesAreSeen},
		{"LockedReadsAreFresh", checkLockedReadsAreFresh},
		{"Isolation", checkIsolation},
	}
}

func checkPeerSharesRecords(s *suite) {
	s.create("k", []byte("v1"))
	require.ErrorIs(s, s.swap(s.Peer, "k", nil, []byte("v2"), s.later()), store.ErrConflict,
		"contract: Swap compares with what is stored, whichever handle stored it")
	require.NoError(s, s.swap(s.Peer, "k", []byte("v1"), []byte("v2"), s.later()),
		"contract: Swap compares with what is stored, whichever handle stored it")
	require.ErrorIs(s, s.swap(s.Store, "k", []byte("v1"), []byte("v3"), s.later()), store.ErrConflict,
		"contract: Swap never compares with a cached value")
	require.NoError(s, s.swap(s.Store, "k", []byte("v2"), nil, time.Time{}),
		"contract: Swap never compares with a cached value")
	require.ErrorIs(s, s.swap(s.Peer, "k", []byte("v2"), []byte("v3"), s.later()), store.ErrConflict,
		"contract: Swap never compares with a cached value")
}

// checkPeerCatchesUp lets each handle read before the other one writes, so that a
// cache has an old value.
func checkPeerCatchesUp(s *suite) {
	const clause = "Get catches up with the writes of other handles"
	s.wantEventually(s.Peer, "k", nil, clause)
	s.create("k", []byte("v1"))
	s.wantEventually(s.Peer, "k", []byte("v1"), clause+": created")
	require.NoError(s, s.swap(s.Peer, "k", []byte("v1"), []byte("v2"), s.later()), "contract: Swap replaces")
	s.wantEventually(s.Store, "k", []byte("v2"), clause+": replaced")
	require.NoError(s, s.swap(s.Store, "k", []byte("v2"), nil, time.Time{}), "contract: Swap deletes")
	s.wantEventually(s.Peer, "k", nil, clause+": deleted by Swap")
	s.create("k", []byte("v3"))
	s.wantEventually(s.Peer, "k", []byte("v3"), clause+": created again")
	require.NoError(s, s.del(s.Peer, "k"), "contract: Delete removes")
	s.wantEventually(s.Store, "k", nil, clause+": deleted by Delete")
}

func checkOwnWritesAreSeen(s *suite) {
	const clause = "a Get sees every write that its own handle finished before"
	var old []byte
	for i := range steps {
		next := []byte{byte(i)}
		require.NoError(s, s.swap(s.Store, "k", old, next, s.later()), "contract: Swap creates and replaces")
		s.wantValue("k", next, clause)
		old = next
	}
	for range steps {
		require.NoError(s, s.del(s.Store, "k"), "contract: Delete removes")
		s.wantAbsent("k", clause)
		s.create("k", []byte("v"))
		s.wantValue("k", []byte("v"), clause)
		require.NoError(s, s.swap(s.Store, "k", []byte("v"), nil, time.Time{}), "contract: Swap deletes")
		s.wantAbsent("k", clause)
	}
}

// checkLockedReadsAreFresh is what "refresh once" rests on: a replica that gets
// the lock after another one must see that the work has been done.
func checkLockedReadsAreFresh(s *suite) {
	const workers = 4
	s.create("k", binary.BigEndian.AppendUint64(nil, 0))
	errs := s.race(workers, func(_ int, st store.SessionStore) error {
		for range rounds {
			if err := s.incrementLocked(st, "k"); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		require.NotErrorIs(s, err, store.ErrConflict,
			"contract: while a handle holds Lock(key), its Get of that key sees every write finished before")
		require.NoError(s, err, "contract: Lock, Get and Swap succeed one holder after the other")
	}
	s.wantEventually(s.Store, "k", binary.BigEndian.AppendUint64(nil, workers*rounds),
		"under a lock no update is lost")
}

// incrementLocked adds one to the number under key while holding its lock, so
// that its Swap has no other writer to conflict with. It reads once more before, for a
// cache to be filled with what other handles are about to change.
func (s *suite) incrementLocked(st store.SessionStore, key string) error {
	if _, err := s.get(st, key); err != nil {
		return err
	}
	unlock, err := s.lockFor(st, key, s.longTTL(), s.Timeout)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := s.get(st, key)
	if err != nil {
		return err
	}
	next := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(old)+1)
	return s.swap(st, key, old, next, s.later())
}

func checkIsolation(s *suite) {
	if s.Isolated == nil {
		s.Skip("storetest: Backend.Isolated is nil")
	}
	s.create("k", []byte("mine"))
	_, err := s.get(s.Isolated, "k")
	require.ErrorIs(s, err, store.ErrNotFound, "contract: an isolated store does not see another's records")
	require.NoError(s, s.swap(s.Isolated, "k", nil, []byte("theirs"), s.later()),
		"contract: an isolated store has its own record under the same key")
	s.wantValue("k", []byte("mine"), "an isolated store does not change another's records")
	require.NoError(s, s.del(s.Isolated, "k"), "contract: Delete removes")
	s.wantValue("k", []byte("mine"), "an isolated store does not delete another's records")

	s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	s.wantLock(s.Isolated, "k", s.longTTL(), "an isolated store has its own lock of the same name")
}
