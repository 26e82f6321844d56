package session

import (
	"context"
	"errors"
	"slices"
)

// maxRemovals bounds how often RemoveOwner looks for sessions that were connected
// while it removed others.
const maxRemovals = 5

// RemoveOwner ends all sessions of an owner for good, on all replicas, as
// [Manager.RemoveClient] does each: an account is deleted. First sign the owner
// out of the host, so that no new session comes. With an error some sessions may
// be left, which the next call removes. Errors: [*InputError] for the empty
// owner, [*StoreError].
func (m *Manager) RemoveOwner(ctx context.Context, owner string) (err error) {
	defer func() {
		m.audit(ctx, AuditEvent{Action: AuditRemoveOwner, SessionOwner: owner, ErrorType: errorType(err)})
	}()
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	if owner == "" {
		return &InputError{Field: "owner", Reason: "is required"}
	}
	for range maxRemovals {
		index, _, err := m.readOwner(ctx, owner)
		if errors.Is(err, errNoList) || err == nil && len(index.Sessions) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		sessions, err := m.readAll(ctx, owner, index.Sessions)
		if err := errors.Join(err, m.removeAll(ctx, sessions)); err != nil {
			return err
		}
		err = m.updateOwner(ctx, owner, func(r *ownerRecord, _ bool) error {
			r.Sessions = slices.DeleteFunc(r.Sessions, func(key string) bool { return slices.Contains(index.Sessions, key) })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return &StoreError{Op: "removing an owner", Err: errors.New("new sessions keep coming")}
}

// removeAll removes sessions, all of them also if some fail.
func (m *Manager) removeAll(ctx context.Context, sessions []stored) error {
	errs := make([]error, len(sessions))
	turn := make(chan struct{}, maxParallelReads)
	var removals parallel
	for i, s := range sessions {
		removals.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			if err := m.remove(ctx, Caller{Owner: s.Owner}, s); !errors.Is(err, ErrNotFound) {
				errs[i] = err
			}
		})
	}
	removals.Wait()
	return errors.Join(errs...)
}
