package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// errOutage is what a store says that is away.
var errOutage = errors.New("connection refused")

// spy is a store that counts, remembers what it was given, and fails on
// demand. Durable as far as anybody can tell.
type spy struct {
	store.SessionStore

	mu     sync.Mutex
	counts map[string]int // by operation and kind of key, as in "swap session"
	keys   []string
	known  map[string]bool // of keys
	values [][]byte
	before func(op, key string) error // called before each operation, may block
	after  func(op, key string) error // called after each successful one
}

func newSpy(s store.SessionStore) *spy {
	return &spy{SessionStore: s, counts: make(map[string]int), known: make(map[string]bool)}
}

// set replaces the hooks; nil for none.
func (s *spy) set(before, after func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// fail makes an operation fail on keys with a prefix, n times, or for ever
// with n below zero. The operation "write" stands for swap and delete.
func (s *spy) fail(op, prefix string, n int) { s.set(failing(op, prefix, n), nil) }

func failing(op, prefix string, n int) func(op, key string) error {
	var mu sync.Mutex
	return func(gotOp, key string) error {
		mu.Lock()
		defer mu.Unlock()
		matches := gotOp == op || op == "write" && (gotOp == "swap" || gotOp == "delete")
		if !matches || !strings.HasPrefix(key, prefix) || n == 0 {
			return nil
		}
		n--
		return errOutage
	}
}

func (s *spy) heal() { s.set(nil, nil) }

func kindOf(key string) string {
	kind, _, _ := strings.Cut(key, ":")
	return kind
}

func (s *spy) enter(op, key string) error {
	s.mu.Lock()
	s.counts[op+" "+kindOf(key)]++
	if !s.known[key] {
		s.known[key], s.keys = true, append(s.keys, key)
	}
	before := s.before
	s.mu.Unlock()
	if before != nil {
		return before(op, key)
	}
	return nil
}

func (s *spy) leave(op, key string, err error) error {
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if err == nil && after != nil {
		return after(op, key)
	}
	return err
}

func (s *spy) Get(ctx context.Context, key string) ([]byte, time.Time, error) {
	if err := s.enter("get", key); err != nil {
		return nil, time.Time{}, err
	}
	value, expiry, err := s.SessionStore.Get(ctx, key)
	if err = s.leave("get", key, err); err != nil {
		return nil, time.Time{}, err
	}
	return value, expiry, nil
}

func (s *spy) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := s.enter("extend", key); err != nil {
		return err
	}
	return s.leave("extend", key, s.SessionStore.Extend(ctx, key, expiry))
}

func (s *spy) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	s.mu.Lock()
	s.values = append(s.values, slices.Clone(new))
	s.mu.Unlock()
	if err := s.enter("swap", key); err != nil {
		return err
	}
	return s.leave("swap", key, s.SessionStore.Swap(ctx, key, old, new, expiry))
}

func (s *spy) Delete(ctx context.Context, key string) error {
	if err := s.enter("delete", key); err != nil {
		return err
	}
	return s.leave("delete", key, s.SessionStore.Delete(ctx, key))
}

func (s *spy) Lock(ctx context.Context, key string, ttl time.Duration) (func(), error) {
	if err := s.enter("lock", key); err != nil {
		return nil, err
	}
	unlock, err := s.SessionStore.Lock(ctx, key, ttl)
	if err = s.leave("lock", key, err); err != nil {
		return nil, err
	}
	return unlock, nil
}

// count says how often an operation was asked for, as in "swap session".
func (s *spy) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[what]
}

// live returns the keys of one kind under which there is a record.
func (s *spy) live(kind string) []string {
	s.mu.Lock()
	keys := slices.Clone(s.keys)
	s.mu.Unlock()
	live := []string{}
	for _, key := range keys {
		if kindOf(key) != kind {
			continue
		}
		if _, _, err := s.SessionStore.Get(context.Background(), key); err == nil {
			live = append(live, key)
		}
	}
	return live
}

// stored returns every value that was ever given to Swap.
func (s *spy) stored() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.values)
}

// records returns all records as they are now.
func (s *spy) records() map[string]string {
	s.mu.Lock()
	keys := slices.Clone(s.keys)
	s.mu.Unlock()
	now := make(map[string]string)
	for _, key := range keys {
		if value, _, err := s.SessionStore.Get(context.Background(), key); err == nil {
			now[key] = string(value)
		}
	}
	return now
}

// rewrite changes a stored value behind everybody's back.
func (s *spy) rewrite(key string, fn func([]byte) []byte) error {
	value, _, err := s.SessionStore.Get(context.Background(), key)
	if err != nil {
		return err
	}
	return s.SessionStore.Swap(context.Background(), key, value, fn(slices.Clone(value)), time.Now().Add(time.Hour))
}
