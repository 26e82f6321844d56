package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

const (
	// minKeepAlive is the minimum time between two refreshes of a session that is
	// not in use, so that no server can ask for more by refresh tokens that live a
	// moment.
	minKeepAlive = 15 * time.Minute
	// keepAliveRetries is the part of a refresh token's life after which a refresh
	// that failed is tried again.
	keepAliveRetries = 32
	// readRetry is when a session that could not be read is looked at again, and
	// unreadableRetry when one that was sealed with a key that is missing is.
	readRetry       = 10 * time.Minute
	unreadableRetry = time.Hour
	// maxUnlisted bounds the sessions that wait to be listed when the store is back.
	maxUnlisted = 10_000
)

// refreshLife is the life of a session's refresh token, and when it began.
func (m *Manager) refreshLife(r *record) (from time.Time, life time.Duration) {
	if from = r.creds.Issued(); from.IsZero() {
		from = r.Created
	}
	if known := r.creds.RefreshExpiry; known.After(from) {
		return from, known.Sub(from)
	}
	return from, m.cfg.KeepAlive.RefreshTokenLife
}

// dueAt is when a session needs work although it may not be in use: a refresh, or
// the end of its grant. It is zero for a session that needs none.
func (m *Manager) dueAt(key string, r *record) (due time.Time) {
	if !r.creds.RefreshToken.IsZero() {
		from, life := m.refreshLife(r)
		due = from.Add(max(minKeepAlive, life/2+time.Duration(shareOf(key)*float64(life/4))))
	}
	if end := m.grantEnd(r); !end.IsZero() && r.creds.Authorized() && (due.IsZero() || end.Before(due)) {
		due = end
	}
	return due
}

// nextSlot is the slot in which a session is to be listed: no later than the end
// of the session if it is not used again, so that the index does not outgrow the
// sessions. The slot after the present one may begin while it is being listed.
func (m *Manager) nextSlot(key string, r *record) slot {
	now := m.cfg.Now()
	return max(min(slotAt(m.dueAt(key, r)), slotAt(now.Add(m.cfg.TTL))), slotAt(now)+2)
}

// retrySlot is nextSlot for a session whose refresh failed. A refresh token whose
// life is over may still be good, but nothing is urgent any more.
func (m *Manager) retrySlot(key string, r *record) slot {
	from, life := m.refreshLife(r)
	retry := time.Duration((1 + shareOf(key)) * float64(life/keepAliveRetries))
	if m.cfg.Now().After(from.Add(life)) {
		retry = max(retry, minKeepAlive)
	}
	return max(slotAt(m.cfg.Now().Add(retry)), m.nextSlot(key, r))
}

// needsListing reports whether a session needs a place in the index and has none in a
// slot that is still to come.
func (m *Manager) needsListing(s stored) bool {
	return slot(s.Slot) < slotAt(m.cfg.Now()) && m.keepable(s)
}

// keepable reports whether a session belongs into the index.
func (m *Manager) keepable(s stored) bool {
	return m.cfg.KeepAlive.Enabled && !m.dueAt(s.key, s.record).IsZero()
}

// list puts a session in use into the index, and notes where. If that fails, the
// session is listed when it is used next, or by keepAlive on this replica.
func (m *Manager) list(ctx context.Context, s stored) {
	at := m.nextSlot(s.key, s.record)
	err := m.place(ctx, at, s.key)
	if err == nil {
		_, err = m.update(ctx, s.key, func(r *record) error { r.Slot = int64(at); return nil })
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		return
	}
	m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot list a session to keep alive", "session", s.key, "error", err)
	m.waiting.listLater(s.key)
}

// listAgain lists sessions that could not be listed before. It ends when the store
// fails; what cannot be read waits on.
func (m *Manager) listAgain(ctx context.Context) {
	var unreadable []string
	defer func() {
		for _, key := range unreadable {
			m.waiting.listLater(key)
		}
	}()
	for key := m.waiting.take(); key != ""; key = m.waiting.take() {
		s, err := m.read(ctx, key)
		if err == nil && m.needsListing(s) {
			at := m.nextSlot(key, s.record)
			if err = m.place(ctx, at, key); err == nil {
				err = m.mark(ctx, key, at)
			}
		}
		switch {
		case err == nil, errors.Is(err, ErrNotFound):
		case isUnreadable(err):
			unreadable = append(unreadable, key)
		default:
			m.waiting.listLater(key)
			return
		}
	}
}

// mark notes in a session where it is listed. That is no use of it.
func (m *Manager) mark(ctx context.Context, key string, at slot) error {
	_, err := m.change(ctx, key, false, func(r *record) error { r.Slot = int64(at); return nil })
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// errTurnOver says that the turn ended before the work on a session began.
var errTurnOver = errors.New("session: the turn is over")

// session does what is due for a session, and lists it again. With an error it
// stays listed where it is. A replica that dies at any point leaves it listed
// here, and the next one sees in the record what has been done.
func (w *keeper) session(ctx context.Context, key string) error {
	m := w.m
	s, err := m.read(ctx, key)
	failed := false
	if err == nil {
		if idle := m.cfg.TTL - s.expiry.Sub(m.cfg.Now()); idle > 2*m.cfg.TouchInterval {
			defer m.cache.drop(key) // makes room for sessions in use
		}
		if w.due(s) {
			if err := w.renew(ctx, s); err != nil {
				return err
			}
			if s, err = m.read(ctx, key); err == nil {
				failed = w.due(s)
			}
		}
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil: // perhaps of this record only; if the store is away, place fails, too
		retry := readRetry
		if isUnreadable(err) {
			retry = unreadableRetry
		}
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot keep a session alive now", "session", key, "error", err)
		return m.place(ctx, slotAt(m.cfg.Now().Add(retry)), key)
	case m.dueAt(key, s.record).IsZero():
		return nil
	case slot(s.Slot) > w.now: // listed for later, by another listing or by a replica that died after the refresh
		return m.place(ctx, slot(s.Slot), key)
	}
	at := m.nextSlot(key, s.record)
	if failed {
		at = m.retrySlot(key, s.record)
	}
	if err := m.place(ctx, at, key); err != nil {
		return err
	}
	return m.mark(ctx, key, at)
}

// due reports whether a session needs work now, and is not listed later.
func (w *keeper) due(s stored) bool {
	due := w.m.dueAt(s.key, s.record)
	return slot(s.Slot) <= w.now && !due.IsZero() && slotAt(due) <= w.now
}

// renew ends a session's grant or refreshes its tokens, within the rate. That it
// fails is logged, and seen in the record.
func (w *keeper) renew(ctx context.Context, s stored) error {
	m := w.m
	over := m.grantOver(s.record)
	if !over && m.waiting.failing(s.creds.Issuer, m.cfg.Now()) {
		return nil
	}
	if !over {
		if err := m.allow(ctx, Caller{Owner: s.Owner}, s.ServerURL); err != nil {
			m.cfg.Logger.InfoContext(ctx, "mcpoauth: a session is not kept alive: the host refuses its server", "session", s.key, "error", err)
			return nil
		}
	}
	select {
	case <-w.pace.C:
	case <-time.After(time.Until(w.deadline)):
		return errTurnOver
	case <-ctx.Done():
		return ctx.Err()
	}
	if over {
		if _, err := m.endGrant(ctx, s); err != nil {
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot end a grant", "session", s.key, "error", err)
		}
		return nil
	}
	client, err := m.newClient(s, true)
	if err == nil {
		// Two requests are over before the lease is; what takes longer is saved
		// all the same.
		ctx, cancel := context.WithTimeout(ctx, 2*m.cfg.requestTimeout())
		defer cancel()
		err = unwrapStorage(client.Provider().Refresh(ctx, s.creds))
	}
	if temporary, ok := errors.AsType[*oauthclient.TemporaryError](err); ok {
		m.waiting.failed(s.creds.Issuer, m.cfg.Now(), max(temporary.RetryAfter, keepAlivePause))
	}
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: a session that is not in use was not refreshed", "session", s.key, "issuer", s.creds.Issuer, "error", err)
		return nil
	}
	w.refreshed.Add(1)
	return nil
}

// waiting is what a replica remembers from one turn to the next.
type waiting struct {
	mu       sync.Mutex
	unlisted []string             // keys of sessions that could not be listed
	issuers  map[string]time.Time // that failed, and until when they are not asked
}

// listLater remembers a session that could not be listed.
func (w *waiting) listLater(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.unlisted) < maxUnlisted && !slices.Contains(w.unlisted, key) {
		w.unlisted = append(w.unlisted, key)
	}
}

// take returns a session that listLater remembered, or "".
func (w *waiting) take() (key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.unlisted); n > 0 {
		key, w.unlisted = w.unlisted[n-1], w.unlisted[:n-1]
	}
	return key
}

// failed notes that an authorization server is not to be asked for a while.
func (w *waiting) failed(issuer string, now time.Time, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.issuers, func(_ string, until time.Time) bool { return !now.Before(until) })
	w.issuers[issuer] = now.Add(pause)
}

// failing reports whether an authorization server is not to be asked now.
func (w *waiting) failing(issuer string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Before(w.issuers[issuer])
}
