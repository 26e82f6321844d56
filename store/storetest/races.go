package storetest

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// The sizes of a race: enough that a store which reads, compares and then
// writes loses it, few enough for a server far away.
const (
	racers = 16
	rounds = 8
	steps  = 25
)

// raceCases are about many callers of Swap at once, on both handles.
func raceCases() []testCase {
	return []testCase{
		{"RaceToCreate", checkRaceToCreate},
		{"RaceToTake", checkRaceToTake},
		{"RaceToMark", checkRaceToMark},
		{"RaceToExpire", checkRaceToExpire},
		{"RaceToCount", checkRaceToCount},
	}
}

// wantOneWinner requires that exactly one racer succeeded and all others were
// told that they lost, and returns the winner.
func (s *suite) wantOneWinner(errs []error, clause string) int {
	s.Helper()
	winner, winners := -1, 0
	for i, err := range errs {
		if err == nil {
			winner = i
			winners++
			continue
		}
		require.ErrorIs(s, err, store.ErrConflict, "contract: a caller that loses a race of Swaps gets ErrConflict")
	}
	require.Equal(s, 1, winners, "contract: %s", clause)
	return winner
}

func checkRaceToCreate(s *suite) {
	for round := range rounds {
		key := string(rune('a' + round))
		errs := s.race(racers, func(i int, st store.SessionStore) error {
			return s.swap(st, key, nil, []byte{byte(i)}, s.later())
		})
		winner := s.wantOneWinner(errs, "of many Swaps that create one record, exactly one succeeds")
		s.wantEventually(s.Store, key, []byte{byte(winner)}, "the record is the one of the Swap that succeeded")
	}
}

func checkRaceToTake(s *suite) {
	for range rounds {
		s.create("k", []byte("pending"))
		errs := s.race(racers, func(_ int, st store.SessionStore) error {
			return s.swap(st, "k", []byte("pending"), nil, time.Time{})
		})
		s.wantOneWinner(errs, "of many Swaps that delete one value, exactly one succeeds")
		s.wantEventually(s.Store, "k", nil, "a record that was taken is gone")
	}
}

func checkRaceToMark(s *suite) {
	for round := range rounds {
		key := string(rune('a' + round))
		s.create(key, []byte("pending"))
		errs := s.race(racers, func(i int, st store.SessionStore) error {
			return s.swap(st, key, []byte("pending"), []byte{'t', byte(i)}, s.later())
		})
		winner := s.wantOneWinner(errs, "of many Swaps that replace one value, exactly one succeeds")
		s.wantEventually(s.Store, key, []byte{'t', byte(winner)}, "the value is the one of the Swap that succeeded")
	}
}

func checkRaceToExpire(s *suite) {
	past := s.Now().Add(-time.Hour)
	for range rounds {
		s.create("k", []byte("pending"))
		errs := s.race(racers, func(i int, st store.SessionStore) error {
			return s.swap(st, "k", []byte("pending"), []byte{byte(i)}, past)
		})
		s.wantOneWinner(errs, "of many Swaps that replace one value, exactly one succeeds, also with an expiry in the past")
	}
}

func checkRaceToCount(s *suite) {
	const counters = racers / 2
	s.create("k", binary.BigEndian.AppendUint64(nil, 0))
	errs := s.race(counters, func(_ int, st store.SessionStore) error {
		for range steps {
			if err := s.increment(st, "k"); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		require.NoError(s, err, "contract: a loop of Get and Swap makes progress, since Get catches up with other handles")
	}
	s.wantEventually(s.Store, "k", binary.BigEndian.AppendUint64(nil, counters*steps),
		"of many loops of Get and Swap no update is lost")
}

// increment adds one to the number under key, as often as it takes for the
// Swap not to conflict.
func (s *suite) increment(st store.SessionStore, key string) error {
	deadline := time.Now().Add(s.Timeout)
	for {
		old, err := s.get(st, key)
		if err != nil {
			return err
		}
		next := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(old)+1)
		err = s.swap(st, key, old, next, s.later())
		if !errors.Is(err, store.ErrConflict) || time.Now().After(deadline) {
			return err
		}
	}
}
