package session

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Observer returns Config.Observer, which may be nil, for what serves the Manager.
func (m *Manager) Observer() oauthclient.Observer { return m.cfg.Observer }

// observe begins an operation on a session. The returned function ends it.
func (m *Manager) observe(ctx context.Context, name string) (context.Context, func(Info, error)) {
	if m.cfg.Observer == nil {
		return ctx, func(Info, error) {}
	}
	ctx, end := m.cfg.Observer.Start(ctx, oauthclient.Work{Kind: oauthclient.WorkSession, Name: name})
	return ctx, func(info Info, err error) {
		out := oauthclient.Outcome{ErrorType: errorType(err), Reason: info.AuthorizationReason}
		if err == nil && info.Status == StatusFailed { // the MCP server does not answer
			out.ErrorType = "not_connected"
		}
		end(out)
	}
}

// observeBegun notes an authorization attempt that begins.
func (m *Manager) observeBegun(ctx context.Context, required *oauthclient.AuthorizationRequiredError) {
	if m.cfg.Observer == nil {
		return
	}
	_, end := m.cfg.Observer.Start(ctx, oauthclient.Work{Kind: oauthclient.WorkAuthorization, Name: "begin"})
	end(oauthclient.Outcome{Reason: required.Reason})
}

// observeDecode notes a record that is not in the cache.
func (m *Manager) observeDecode(ctx context.Context) {
	if m.cfg.Observer == nil {
		return
	}
	_, end := m.cfg.Observer.Start(ctx, oauthclient.Work{Kind: oauthclient.WorkDecode, Name: "decode", Target: "session"})
	end(oauthclient.Outcome{})
}

// errorType is [oauthclient.ErrorType] for the errors of this package too.
func errorType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrNotFound):
		return "session_not_found"
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	if _, ok := errors.AsType[*StoreError](err); ok {
		return "store"
	}
	if _, ok := errors.AsType[*RefusedError](err); ok {
		return "refused"
	}
	if _, ok := errors.AsType[*LimitError](err); ok {
		return "limit"
	}
	if _, ok := errors.AsType[*InputError](err); ok {
		return "invalid_input"
	}
	return oauthclient.ErrorType(err)
}

// observeStore puts an observer around the store, if there is one.
func (c *Config) observeStore() {
	if c.Observer != nil {
		c.Store = observedStore{c.Store, c.Observer}
	}
}

// observedStore is a store whose operations are observed.
type observedStore struct {
	store.SessionStore
	observer oauthclient.Observer
}

// Unwrap implements [store.Wrapper].
func (s observedStore) Unwrap() store.SessionStore { return s.SessionStore }

func (s observedStore) start(ctx context.Context, name, key string) (context.Context, func(error)) {
	kind, _, _ := strings.Cut(key, ":")
	ctx, end := s.observer.Start(ctx, oauthclient.Work{Kind: oauthclient.WorkStore, Name: name, Target: kind})
	return ctx, func(err error) { end(oauthclient.Outcome{ErrorType: storeErrorType(ctx, err)}) }
}

// storeErrorType names what ended an operation of the store without a result. A
// record that does not exist, and a race that was lost, are results.
func storeErrorType(ctx context.Context, err error) string {
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
		return ""
	case errors.Is(err, store.ErrUnsure):
		return "unsure"
	case errors.Is(err, store.ErrFull):
		return "full"
	case errors.Is(err, store.ErrInvalid):
		return "invalid"
	case ctx.Err() != nil:
		return "canceled"
	}
	return "unavailable"
}

// Get implements [store.SessionStore].
func (s observedStore) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	ctx, end := s.start(ctx, "get", key)
	defer func() { end(err) }()
	return s.SessionStore.Get(ctx, key)
}

// Swap implements [store.SessionStore].
func (s observedStore) Swap(ctx context.Context, key string, old, updated []byte, expiry time.Time) (err error) {
	ctx, end := s.start(ctx, "swap", key)
	defer func() { end(err) }()
	return s.SessionStore.Swap(ctx, key, old, updated, expiry)
}

// Extend implements [store.SessionStore].
func (s observedStore) Extend(ctx context.Context, key string, expiry time.Time) (err error) {
	ctx, end := s.start(ctx, "extend", key)
	defer func() { end(err) }()
	return s.SessionStore.Extend(ctx, key, expiry)
}

// Delete implements [store.SessionStore].
func (s observedStore) Delete(ctx context.Context, key string) (err error) {
	ctx, end := s.start(ctx, "delete", key)
	defer func() { end(err) }()
	return s.SessionStore.Delete(ctx, key)
}

// Lock implements [store.SessionStore].
func (s observedStore) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	ctx, end := s.start(ctx, "lock", key)
	defer func() { end(err) }()
	return s.SessionStore.Lock(ctx, key, ttl)
}
