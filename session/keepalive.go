package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/store"
)

// KeepAlive configures [Manager.KeepAlive], equally on all replicas.
type KeepAlive struct {
	// Enabled lists the sessions that have a refresh token in an index in the
	// Store, by the time when they are due. Every replica does that, also one that
	// does not call Manager.KeepAlive. Defaults to false.
	Enabled bool
	// RefreshTokenLife is how long a refresh token that is not used is assumed to
	// last if the authorization server does not say. A refresh token is used when
	// half to three quarters of its life are over; what is left is for retries.
	// Defaults to 7 days.
	RefreshTokenLife time.Duration
	// RefreshesPerMinute bounds the refreshes of sessions that are not in use, of
	// all replicas together. Defaults to 600.
	RefreshesPerMinute int
	// MaxParallel bounds the refreshes of these that are in progress at a time, so
	// that authorization servers that do not answer hold up few others. Defaults
	// to 16.
	MaxParallel int
}

const (
	// keepAlivePause is how often a replica looks for sessions that are due.
	keepAlivePause = time.Minute
	// keepAliveTurn is how long a replica waits for its turn. If it is not granted,
	// another replica is at work.
	keepAliveTurn = time.Second
	// maxClockLead is how far ahead a clock may be that worked on the index.
	maxClockLead = 5 * slotWidth
	// unreadableAge is how long a bucket that no replica can read is looked at
	// again: its seal key may come back.
	unreadableAge = 24 * time.Hour
)

// ErrKeepAliveDisabled is returned by [Manager.KeepAlive] without
// Config.KeepAlive.Enabled.
var ErrKeepAliveDisabled = errors.New("session: Config.KeepAlive.Enabled is not set")

// KeepAlive refreshes the tokens of sessions that are not in use before their
// refresh tokens end, until ctx ends or the Manager is closed. The host calls it
// in a goroutine of its own, on as many replicas as it likes; one of them works
// at a time, and another one goes on where it stops. The error is that of ctx,
// [ErrClosed] or [ErrKeepAliveDisabled]; failures are logged, and tried again.
//
// A session is kept alive for Config.TTL after its last use and for
// Config.GrantTTL after its user has authorized. A refresh is no use: it moves
// neither. An access token that has ended is no reason to refresh, because the
// next call does that. While the store is away nothing is refreshed.
func (m *Manager) KeepAlive(ctx context.Context) error {
	if !m.cfg.KeepAlive.Enabled {
		return ErrKeepAliveDisabled
	}
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	for {
		more, err := m.keepAlive(ctx)
		switch {
		case m.isClosed():
			return ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot keep sessions alive now", "error", err)
		case more:
			continue
		}
		pause(ctx, keepAlivePause/2+rand.N(keepAlivePause))
	}
}

// progress is the record that says how far the work on the index has come.
type progress struct {
	Format int   `json:"format"`
	Next   int64 `json:"next"` // the first slot that is not done
	kept
}

const progressStoreKey = "alive:progress"

var progressMembers = members.Known[progress]()

func (*progress) members() map[string]bool { return progressMembers }

// readProgress returns the first slot that is not done. Without a record that is
// the first one whose sessions may live; after a clock that was far ahead it is
// the present one.
func (m *Manager) readProgress(ctx context.Context, now slot) (next slot, value []byte, err error) {
	oldest := slotAt(m.cfg.Now().Add(-m.cfg.TTL))
	value, _, err = m.cfg.Store.Get(ctx, progressStoreKey)
	if errors.Is(err, store.ErrNotFound) {
		return oldest, nil, nil
	}
	var p progress
	if err == nil {
		err = m.sealer.decode(progressStoreKey, value, &p)
	}
	switch {
	case errors.Is(err, errUnsealable):
		return oldest, value, nil
	case err != nil:
		return 0, nil, storeError(ctx, "reading how far sessions are kept alive", err)
	case slot(p.Next) > now+slot(maxClockLead/slotWidth):
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: a clock was ahead, or this one is behind", "by", slot(p.Next).start().Sub(now.start()))
		return now, value, nil
	}
	return max(slot(p.Next), oldest), value, nil
}

// keepAlive works on the slots that are due, if it is this replica's turn, for a
// part of its lease. It reports whether there is more to do at once.
func (m *Manager) keepAlive(ctx context.Context) (more bool, err error) {
	m.listAgain(ctx)
	now := slotAt(m.cfg.Now())
	if next, _, err := m.readProgress(ctx, now); err != nil || next > now {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, keepAliveTurn)
	interval, work := m.keepAlivePace()
	unlock, err := m.lockFor(waiting, progressStoreKey, work+m.cfg.LockTTL)
	end, _ := waiting.Deadline()
	turnOver := time.Until(end) < keepAliveTurn/10 // else it was a time limit of the store's own; a store may notice the end a little early
	cancel()
	switch {
	case err == nil:
	case turnOver && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return false, nil // another replica is at work
	default:
		return false, err
	}
	defer unlock()
	first, value, err := m.readProgress(ctx, now)
	if err != nil {
		return false, err
	}
	w := &keeper{m: m, now: now, deadline: time.Now().Add(work), pace: time.NewTicker(interval)}
	defer w.pace.Stop()
	if behind := now - first; behind > slot(time.Hour/slotWidth) && value != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: keeping sessions alive is behind", "by", time.Duration(behind)*slotWidth)
	}
	next, err := w.walkAll(ctx, first)
	if n := w.refreshed.Load(); n > 0 {
		m.cfg.Logger.InfoContext(ctx, "mcpoauth: sessions kept alive", "refreshed", n)
	}
	if next > first || value == nil {
		err = errors.Join(err, m.saveProgress(ctx, value, next))
	}
	return next <= now, err
}

func (m *Manager) saveProgress(ctx context.Context, old []byte, next slot) error {
	value, err := m.sealer.encode(progressStoreKey, &progress{Format: recordFormat, Next: int64(next)})
	if err != nil {
		return err
	}
	err = m.cfg.Store.Swap(ctx, progressStoreKey, old, value, m.indexExpiry(next))
	if err == nil || errors.Is(err, store.ErrConflict) { // the lease ran out, and another replica has gone on
		return nil
	}
	return storeError(ctx, "writing how far sessions are kept alive", err)
}

// keeper works on the index for one turn of a replica.
type keeper struct {
	m        *Manager
	now      slot
	deadline time.Time    // to begin with a session
	pace     *time.Ticker // of refreshes

	refreshed atomic.Int64
}

// keepAlivePace is the time between two refreshes, and the time in which a keeper
// may begin some. A refresh that begins last ends within Config.LockTTL, see
// keeper.renew.
func (m *Manager) keepAlivePace() (interval, work time.Duration) {
	interval = max(1, time.Minute/time.Duration(m.cfg.KeepAlive.RefreshesPerMinute))
	return interval, max(m.cfg.LockTTL/4, 2*interval)
}

// walkAll works on the slots from first on, until the deadline, and returns the
// first that is not done. What cannot be read holds up no later slot.
func (w *keeper) walkAll(ctx context.Context, first slot) (next slot, err error) {
	next = first
	for at := first; at <= w.now && time.Now().Before(w.deadline); at++ {
		done, slotErr := w.walk(ctx, at, "")
		switch {
		case isUnreadable(slotErr):
			err = slotErr
		case slotErr != nil:
			return next, slotErr
		case !done:
			return next, err
		case err == nil:
			next = at + 1
		}
	}
	return next, err
}

// walk works on the buckets of a slot below path, children first, because their
// parent names them. It reports whether none is left.
func (w *keeper) walk(ctx context.Context, at slot, path string) (done bool, err error) {
	b, _, err := w.m.readBucket(ctx, bucketStoreKey(at, path))
	if errors.Is(err, errNoBucket) {
		return true, nil
	}
	if isUnreadable(err) && w.now-at > slot(unreadableAge/slotWidth) {
		return true, nil // it stays, but is not looked at any more
	}
	if err != nil {
		return false, err
	}
	for _, digit := range []byte("0123456789abcdef") {
		if b.Children&child(digit) == 0 {
			continue
		}
		if done, err := w.walk(ctx, at, path+string(digit)); err != nil || !done {
			return false, err
		}
	}
	children := b.Children
	handled, failure := w.all(ctx, b.Sessions)
	err = w.m.updateBucket(ctx, at, path, func(b *bucket) error {
		b.remove(handled)
		b.Children &^= children
		done = len(b.Sessions) == 0 && b.Children == 0
		return nil
	})
	return done && err == nil, errors.Join(failure, err)
}

// all works on sessions until the deadline, and returns the keys of the sessions
// that need no more work in this slot.
func (w *keeper) all(ctx context.Context, keys []string) (handled []string, err error) {
	var mu sync.Mutex
	var group errgroup.Group
	var caught panics
	group.SetLimit(w.m.cfg.KeepAlive.MaxParallel)
	for _, key := range keys {
		if ctx.Err() != nil || time.Now().After(w.deadline) {
			break
		}
		group.Go(func() error {
			defer caught.catch()
			if err := w.session(ctx, key); errors.Is(err, errTurnOver) {
				return nil
			} else if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			handled = append(handled, key)
			return nil
		})
	}
	err = group.Wait()
	caught.raise()
	return handled, err
}
