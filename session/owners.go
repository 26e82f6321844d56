package session

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/mcpoauth/mcpoauth/store"
)

// ownerRecord lists the keys of an owner's sessions, some of which may have
// ended. Sessions of the empty owner are not listed.
type ownerRecord struct {
	Sessions []string `json:"sessions"`
}

// Sessions returns the sessions of an owner, oldest first, each with an ID
// that works. The empty owner has none: its sessions belong to whoever holds
// their ID.
func (m *Manager) Sessions(ctx context.Context, owner string) ([]Info, error) {
	if m.isClosed() {
		return nil, ErrClosed
	}
	infos := []Info{}
	if owner == "" {
		return infos, nil
	}
	index, _, err := m.readOwner(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, key := range index.Sessions {
		r, _, err := m.read(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.sameOwner(owner) == 1 {
			infos = append(infos, r.info(key, m.cfg.Now()))
		}
	}
	slices.SortStableFunc(infos, func(a, b Info) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return infos, nil
}

func (m *Manager) readOwner(ctx context.Context, owner string) (r ownerRecord, value []byte, err error) {
	storeKey := ownerStoreKey(owner)
	value, _, err = m.cfg.Store.Get(ctx, storeKey)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnsure) {
		return r, nil, nil
	}
	if err != nil {
		return r, nil, storeError(ctx, "reading an owner's sessions", err)
	}
	plaintext, err := m.sealer.open(storeKey, value)
	if err == nil {
		err = json.Unmarshal(plaintext, &r)
	}
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable list of sessions", "error", err)
		return ownerRecord{}, value, nil
	}
	return r, value, nil
}

// updateOwner changes an owner's list by compare-and-swap and renews its life,
// which is at least that of each session in it.
func (m *Manager) updateOwner(ctx context.Context, owner string, fn func(*ownerRecord) error) error {
	if owner == "" {
		return nil
	}
	storeKey := ownerStoreKey(owner)
	for {
		r, old, err := m.readOwner(ctx, owner)
		if err != nil {
			return err
		}
		if err := fn(&r); err != nil {
			return err
		}
		var value []byte
		if len(r.Sessions) > 0 {
			plaintext, err := json.Marshal(r)
			if err != nil {
				return err
			}
			value = m.sealer.seal(storeKey, plaintext)
		} else if old == nil {
			return nil
		}
		err = m.cfg.Store.Swap(ctx, storeKey, old, value, m.cfg.Now().Add(m.cfg.TTL+m.cfg.TouchInterval))
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return storeError(ctx, "writing an owner's sessions", err)
		}
	}
}

// addToOwner lists a session, whose record exists already, within
// Config.MaxSessionsPerOwner. Sessions that have ended are taken off the list
// when it is full.
func (m *Manager) addToOwner(ctx context.Context, owner, key string) error {
	return m.updateOwner(ctx, owner, func(r *ownerRecord) error {
		if len(r.Sessions) >= m.cfg.MaxSessionsPerOwner {
			var readErr error
			r.Sessions = slices.DeleteFunc(r.Sessions, func(other string) bool {
				_, _, err := m.read(ctx, other)
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

// renewOwner renews the life of an owner's list with that of a session in it.
// A list that was lost (with its key, say) comes back this way.
func (m *Manager) renewOwner(ctx context.Context, owner, key string) error {
	return m.updateOwner(ctx, owner, func(r *ownerRecord) error {
		r.list(key)
		return nil
	})
}

func (r *ownerRecord) list(key string) {
	if !slices.Contains(r.Sessions, key) {
		r.Sessions = append(r.Sessions, key)
	}
}

// removeFromOwner takes a session off the list.
func (m *Manager) removeFromOwner(ctx context.Context, owner, key string) error {
	return m.updateOwner(ctx, owner, func(r *ownerRecord) error {
		r.Sessions = slices.DeleteFunc(r.Sessions, func(other string) bool { return other == key })
		return nil
	})
}
