package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/store"
)

// Health is what [Manager.Health] has found. A nil field is good.
type Health struct {
	// Store says why the store does not keep records: it is away, it is full,
	// or it takes no writes. A hybridstore without Redis keeps them.
	Store error
	// Keys says that the replicas on this store have no seal key in common, or
	// that some seal and others do not.
	Keys error
	// Clock says that this replica's clock is behind that of the store, or of
	// another replica, by more than half a minute.
	Clock error
}

// Err returns all that was found, or nil.
func (h Health) Err() error { return errors.Join(h.Store, h.Keys, h.Clock) }

const (
	// healthTimeout bounds one check.
	healthTimeout = 5 * time.Second
	// healthPause is how long a finding is good for, so that probes, which
	// anybody may send, cost the store little.
	healthPause = time.Second
	// stampPause is the time between two stamps of a replica, and stampLife the
	// life of one.
	stampPause = time.Minute
	stampLife  = 5 * time.Minute
	// maxClockSkew is how far apart the clocks of replicas may be.
	maxClockSkew = 30 * time.Second
)

// healthStoreKey is where replicas leave their stamp for one another.
const healthStoreKey = "health:stamp"

// stamp is the time of the replica that wrote it.
type stamp struct {
	Format int       `json:"format"`
	Time   time.Time `json:"time"`
	kept
}

var stampMembers = members.Known[stamp]()

func (*stamp) members() map[string]bool { return stampMembers }

// healthMemory is the last finding.
type healthMemory struct {
	flight singleflight.Group
	mu     sync.Mutex // guards last and at
	last   Health
	at     time.Time
}

// Health checks what this replica needs to serve sessions: that the store takes,
// gives back and deletes a record, that this replica can read what other replicas
// have written, and that its clock is not behind. It takes 5 seconds at most,
// and a finding is kept for a second. After [Manager.Close] Store is [ErrClosed].
func (m *Manager) Health(ctx context.Context) Health {
	if m.isClosed() {
		return Health{Store: ErrClosed}
	}
	m.health.mu.Lock()
	last, age := m.health.last, m.cfg.Now().Sub(m.health.at)
	m.health.mu.Unlock()
	if age >= 0 && age < healthPause {
		return last
	}
	result := m.health.flight.DoChan("", func() (value any, err error) {
		defer func() { // a store of the host's own must not end the process here
			if panicked := recover(); panicked != nil {
				value = Health{Store: &StoreError{Op: "checking the store", Err: fmt.Errorf("it panicked: %v", panicked)}}
			}
		}()
		// One check serves all callers, so it must not end with the first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
		defer cancel()
		var found Health
		if found.Store, found.Clock = m.checkStore(ctx); found.Err() == nil {
			found.Keys, found.Clock = m.checkReplicas(ctx)
		}
		m.health.mu.Lock()
		defer m.health.mu.Unlock()
		m.health.last, m.health.at = found, m.cfg.Now()
		return found, nil
	})
	select {
	case r := <-result:
		return r.Val.(Health)
	case <-ctx.Done():
		return Health{Store: storeError(context.Background(), "checking the store", ctx.Err())}
	}
}

// checkStore writes, reads and deletes a record of its own. One that has expired at
// once shows that the store's clock is ahead.
func (m *Manager) checkStore(ctx context.Context) (failure, clock error) {
	key, value := "health:"+rand.Text(), []byte(rand.Text())
	if err := m.cfg.Store.Swap(ctx, key, nil, value, m.cfg.Now().Add(maxClockSkew)); err != nil {
		return &StoreError{Op: "writing a record", Err: err}, nil
	}
	got, _, err := m.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("session: the clock of this replica is more than %v behind that of the store", maxClockSkew)
	}
	if err == nil && !bytes.Equal(got, value) {
		err = errors.New("session: it is another record")
	}
	if err != nil {
		return &StoreError{Op: "reading a record back", Err: err}, nil
	}
	if err := m.cfg.Store.Delete(ctx, key); err != nil {
		return &StoreError{Op: "deleting a record", Err: err}, nil
	}
	return nil, nil
}

// checkReplicas reads the stamp of another replica, and leaves one when the last
// is old. That a stamp cannot be read or written while the store works, as in an
// outage of Redis below hybridstore, says nothing.
func (m *Manager) checkReplicas(ctx context.Context) (keys, clock error) {
	value, _, err := m.cfg.Store.Get(ctx, healthStoreKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	now, last := m.cfg.Now(), stamp{}
	if err == nil {
		switch err := m.sealer.decode(healthStoreKey, value, &last); {
		case errors.Is(err, errNewer):
			return nil, nil
		case err != nil:
			return err, nil
		}
		if ahead := last.Time.Sub(now); ahead > maxClockSkew {
			return nil, fmt.Errorf("session: the clock of another replica is %v ahead", ahead.Round(time.Second))
		}
		if now.Sub(last.Time) < stampPause {
			return nil, nil
		}
	}
	sealed, err := m.sealer.encode(healthStoreKey, &stamp{Format: recordFormat, Time: now.UTC()})
	if err == nil {
		_ = m.cfg.Store.Swap(ctx, healthStoreKey, value, sealed, now.Add(stampLife)) // another replica may have been faster
	}
	return nil, nil
}
