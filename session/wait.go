package session

import (
	"context"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	// lookInterval is the time between two looks at records in a store that is no
	// [store.Watcher].
	lookInterval = time.Second
	// watchInterval is the same in a store that is one, for what changes without a
	// write: attempts expire.
	watchInterval = 5 * time.Second
)

// await calls look, and again when one of at most two records may have changed,
// until look reports true or fails, or until ctx or the Manager ends. It starts no
// goroutine.
func (m *Manager) await(ctx context.Context, storeKeys []string, look func(context.Context) (done bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	for {
		changed, interval, stop := m.watch(storeKeys)
		done, err := look(ctx)
		if !done && err == nil {
			timer := time.NewTimer(interval)
			select {
			case <-changed[0]:
			case <-changed[1]:
			case <-timer.C:
			case <-ctx.Done():
				err = ctx.Err()
			}
			timer.Stop()
		}
		stop()
		switch {
		case done:
			return err
		case m.isClosed():
			return ErrClosed // a store that was being read says something else
		case err != nil:
			return err
		}
	}
}

// watch returns what says that records may have changed, and the time after which
// to look anyway.
func (m *Manager) watch(storeKeys []string) (changed [2]<-chan struct{}, interval time.Duration, stop func()) {
	watcher, watches := store.Find[store.Watcher](m.cfg.Store)
	interval = watchInterval
	var stops [2]func()
	for i, key := range storeKeys {
		ok := watches
		if ok {
			changed[i], stops[i], ok = watcher.Watch(key)
		}
		if !ok {
			interval = lookInterval
		}
	}
	return changed, interval, func() {
		for _, stop := range stops {
			if stop != nil {
				stop()
			}
		}
	}
}

// WaitStatus calls until with the result of [Manager.Status] and, if attemptID is not
// empty, that of [Manager.Attempt]. It calls until again whenever one of them may have changed, also on
// another replica, and returns when until reports true. Other errors than those of
// Status and Attempt: that of ctx, and [ErrClosed].
//
// Waiting reads the session, and the attempt: with each change and once in 5 seconds
// where the store is a [store.Watcher], and once a second elsewhere.
func (m *Manager) WaitStatus(ctx context.Context, caller Caller, sessionID, attemptID string, until func(Info, AttemptInfo) bool) error {
	keys := make([]string, 0, 2)
	if key, _, ok := splitID(sessionID); ok {
		keys = append(keys, sessionStoreKey(key))
	}
	if len(attemptID) == attemptIDLen {
		keys = append(keys, attemptStoreKey(attemptID))
	}
	return m.await(ctx, keys, func(ctx context.Context) (bool, error) {
		var attempt AttemptInfo
		if attemptID != "" {
			// Before the session, whose status then is never older than the attempt's: a
			// caller that sees success also sees its result. That the caller may see the
			// attempt is checked with the session.
			key, _, _ := splitID(sessionID)
			var err error
			if attempt, err = m.attemptInfo(ctx, key, attemptID); err != nil {
				return false, err
			}
		}
		info, err := m.Status(ctx, caller, sessionID)
		return err == nil && until(info, attempt), err
	})
}
