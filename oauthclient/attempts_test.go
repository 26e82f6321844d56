package oauthclient_test

import (
	"context"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// attempts is a shared [oauthclient.AttemptStore] that goes through the binary
// form, as a real one does, and can fail.
type attempts struct {
	now     func() time.Time
	created func(oauthclient.Attempt)

	mu   sync.Mutex
	data map[string][]byte
	err  error
}

func (s *attempts) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *attempts) Create(_ context.Context, a oauthclient.Attempt) error {
	if s.created != nil {
		s.created(a)
	}
	data, err := a.MarshalBinary()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || err != nil {
		return s.err
	}
	if s.data == nil {
		s.data = make(map[string][]byte)
	}
	s.data[a.ID] = data
	return nil
}

func (s *attempts) Load(_ context.Context, id string) (oauthclient.Attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(id)
}

func (s *attempts) Take(_ context.Context, id string) (oauthclient.Attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.load(id)
	delete(s.data, id)
	return a, err
}

func (s *attempts) load(id string) (a oauthclient.Attempt, err error) {
	if s.err != nil {
		return a, s.err
	}
	if err := a.UnmarshalBinary(s.data[id]); err != nil || !s.now().Before(a.Expires) {
		return oauthclient.Attempt{}, oauthclient.ErrNoAttempt
	}
	return a, nil
}
