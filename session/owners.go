package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/store"
)

// ownerRecord lists the keys of an owner's sessions, some of which may have
// ended. Sessions of the empty owner are not listed.
type ownerRecord struct {
	Format   int      `json:"format"`
	Sessions []string `json:"sessions"`
	kept

	expiry time.Time // in the store
}

var ownerRecordMembers = members.Known[ownerRecord]()

func (*ownerRecord) members() map[string]bool { return ownerRecordMembers }

// maxParallelReads is how many sessions of an owner are read at a time.
const maxParallelReads = 16

// Sessions returns the sessions of a caller's owner, oldest first, each with an
// ID that works. The empty owner has none: its sessions belong to everyone who
// holds their ID.
func (m *Manager) Sessions(ctx context.Context, caller Caller) ([]Info, error) {
	sessions, err := m.ownersSessions(ctx, caller.Owner)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(sessions))
	for _, s := range sessions {
		infos = append(infos, m.info(s))
	}
	return infos, nil
}

// readAll reads those of an owner's sessions that exist, oldest first. With an
// error it returns the ones that it could read.
func (m *Manager) readAll(ctx context.Context, owner string, keys []string) ([]stored, error) {
	found := make([]stored, len(keys))
	var group errgroup.Group
	var caught panics
	group.SetLimit(maxParallelReads)
	for i, key := range keys {
		group.Go(func() error {
			defer caught.catch()
			s, err := m.read(ctx, key)
			if err == nil && s.sameOwner(owner) == 1 {
				found[i] = s
			}
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		})
	}
	err := group.Wait()
	caught.raise()
	found = slices.DeleteFunc(found, func(s stored) bool { return s.record == nil })
	slices.SortStableFunc(found, byAge)
	return found, err
}

// errNoList is returned for an owner whose list does not exist.
var errNoList = errors.New("session: the owner has no list")

// readOwner gets an owner's list. A list that is damaged counts as empty, with
// the value that takes its place.
func (m *Manager) readOwner(ctx context.Context, owner string) (r ownerRecord, value []byte, err error) {
	storeKey := ownerStoreKey(owner)
	value, r.expiry, err = m.cfg.Store.Get(ctx, storeKey)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil, errNoList
	}
	if err == nil {
		err = m.sealer.decode(storeKey, value, &r)
		if err != nil && !isUnreadable(err) {
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable list of sessions", "error", err)
			return ownerRecord{}, value, nil
		}
	}
	if err != nil {
		return r, nil, storeError(ctx, "reading an owner's sessions", err)
	}
	return r, value, nil
}

// updateOwner changes an owner's list by compare-and-swap and renews its life,
// which is at least that of each session in it. fn also gets whether the list is
// sealed with a key that is not the first.
func (m *Manager) updateOwner(ctx context.Context, owner string, fn func(r *ownerRecord, old bool) error) error {
	if owner == "" {
		return nil
	}
	storeKey := ownerStoreKey(owner)
	end, err := m.turns.take(ctx, storeKey)
	if err != nil {
		return err
	}
	defer end()
	for wait := time.Millisecond; ; wait = min(2*wait, maxConflictPause) {
		r, old, err := m.readOwner(ctx, owner)
		if err != nil && !errors.Is(err, errNoList) && !errors.Is(err, store.ErrUnsure) {
			return err
		}
		if err := fn(&r, m.sealer.isOld(old)); errors.Is(err, errUnchanged) {
			return nil
		} else if err != nil {
			return err
		}
		var value []byte
		if len(r.Sessions) > 0 {
			r.Format = recordFormat
			if value, err = m.sealer.encode(storeKey, &r); err != nil {
				return err
			}
		} else if old == nil {
			return nil
		}
		err = m.cfg.Store.Swap(ctx, storeKey, old, value, m.ownerExpiry())
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return storeError(ctx, "writing an owner's sessions", err)
		}
		// Another replica is changing the list: a random pause keeps the two apart.
		if !pause(ctx, rand.N(wait)) {
			return ctx.Err()
		}
	}
}

// maxConflictPause bounds the pause after a lost race for an owner's list.
const maxConflictPause = 100 * time.Millisecond

// ownerExpiry is the life of an owner's list, at least that of each session in
// it.
func (m *Manager) ownerExpiry() time.Time { return m.extension(m.cfg.TTL + m.cfg.TouchInterval) }

// addToOwner lists a session, whose record exists already, within
// Config.MaxSessionsPerOwner. Sessions that have ended are taken off the list
// when it is full.
func (m *Manager) addToOwner(ctx context.Context, owner, key string) error {
	return m.updateOwner(ctx, owner, func(r *ownerRecord, _ bool) error {
		if len(r.Sessions) >= m.cfg.MaxSessionsPerOwner {
			var readErr error
			r.Sessions = slices.DeleteFunc(r.Sessions, func(other string) bool {
				_, err := m.read(ctx, other)
				if err != nil && !errors.Is(err, ErrNotFound) {
					readErr = err
				}
				return errors.Is(err, ErrNotFound)
			})
			if readErr != nil {
				return readErr
			}
		}
		if len(r.Sessions) >= m.cfg.MaxSessionsPerOwner {
			return &LimitError{Limit: "MaxSessionsPerOwner", Value: m.cfg.MaxSessionsPerOwner}
		}
		r.list(key)
		return nil
	})
}

// extendOwner extends the life of an owner's list with that of a session in it,
// which is due once per Config.TouchInterval, however many sessions are in it. A
// list that was lost, or that could not be written when the session was created,
// gets the session this way.
func (m *Manager) extendOwner(ctx context.Context, owner, key string) error {
	if owner == "" {
		return nil
	}
	due := false
	err := m.updateOwner(ctx, owner, func(r *ownerRecord, old bool) error {
		if !slices.Contains(r.Sessions, key) || old {
			due = false // writing the list extends its life
			r.list(key)
			return nil
		}
		due = r.expiry.Before(m.extension(m.cfg.TTL))
		return errUnchanged
	})
	if err != nil || !due {
		return err
	}
	return m.cfg.Store.Extend(ctx, ownerStoreKey(owner), m.ownerExpiry())
}

func (r *ownerRecord) list(key string) {
	if !slices.Contains(r.Sessions, key) {
		r.Sessions = append(r.Sessions, key)
	}
}

// removeFromOwner takes a session off the list.
func (m *Manager) removeFromOwner(ctx context.Context, owner, key string) error {
	return m.updateOwner(ctx, owner, func(r *ownerRecord, _ bool) error {
		r.Sessions = slices.DeleteFunc(r.Sessions, func(other string) bool { return other == key })
		return nil
	})
}
