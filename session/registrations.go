package session

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// registrations implements [oauthclient.RegistrationStore] for all sessions of
// a Manager, and of every other Manager on the same store.
type registrations struct{ m *Manager }

// registrationRecord is a client registration as it is stored.
type registrationRecord struct {
	Format       int             `json:"format"`
	Registration json.RawMessage `json:"registration"` // oauthclient.Registration.MarshalBinary
	kept
}

var registrationRecordMembers = members.Known[registrationRecord]()

func (*registrationRecord) members() map[string]bool { return registrationRecordMembers }

// registrationTTL is how long an unused registration is kept.
const registrationTTL = 90 * 24 * time.Hour

// foundRegistration is a registration and how it was found in the store. Without
// a value there is none.
type foundRegistration struct {
	oauthclient.Registration
	value []byte
	kept
}

// Load implements [oauthclient.RegistrationStore].
func (s registrations) Load(ctx context.Context, key oauthclient.RegistrationKey) (oauthclient.Registration, error) {
	found, err := s.read(ctx, key)
	if err == nil && s.m.sealer.isOld(found.value) {
		s.reseal(ctx, key)
	}
	return found.Registration, err
}

// reseal seals a registration that is in use with the first key of the ring.
func (s registrations) reseal(ctx context.Context, key oauthclient.RegistrationKey) {
	err := s.Update(ctx, key, func(*oauthclient.Registration) error { return nil })
	if err != nil {
		s.m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot seal a client registration again", "error", err)
	}
}

func (s registrations) read(ctx context.Context, key oauthclient.RegistrationKey) (foundRegistration, error) {
	storeKey := registrationStoreKey(key)
	value, _, err := s.m.cfg.Store.Get(ctx, storeKey)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnsure) {
		return foundRegistration{}, nil
	}
	if err != nil {
		return foundRegistration{}, storeError(ctx, "reading a client registration", err)
	}
	var record registrationRecord
	var r oauthclient.Registration
	err = s.m.sealer.decode(storeKey, value, &record)
	if isUnreadable(err) {
		return foundRegistration{}, storeError(ctx, "reading a client registration", err)
	}
	if err == nil {
		err = r.UnmarshalBinary(record.Registration)
	}
	if err != nil {
		s.m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable client registration", "error", err)
		return foundRegistration{value: value}, nil // register again
	}
	return foundRegistration{r, value, record.kept}, nil
}

// Update implements [oauthclient.RegistrationStore]. The lock spares the server
// registrations; two of them do no harm, and the one that is stored first stays.
func (s registrations) Update(ctx context.Context, key oauthclient.RegistrationKey, fn func(*oauthclient.Registration) error) error {
	end, err := s.m.begin()
	if err != nil {
		return err
	}
	defer end()
	storeKey := registrationStoreKey(key)
	unlock, err := s.m.tryLock(ctx, storeKey)
	if err != nil {
		return err
	}
	defer unlock()
	found, err := s.read(ctx, key)
	if err != nil {
		return err
	}
	r, old := found.Registration, found.value
	if err := fn(&r); err != nil {
		return err
	}
	var value []byte
	if r.ClientID != "" {
		encoded, err := r.MarshalBinary()
		if err != nil {
			return err
		}
		if value, err = s.m.sealer.encode(storeKey, &registrationRecord{recordFormat, encoded, found.kept}); err != nil {
			return err
		}
	} else if old == nil {
		return nil
	}
	// fn may have registered: that is not done again because a caller left.
	ctx, cancel := s.m.detach(ctx)
	defer cancel()
	err = s.m.cfg.Store.Swap(ctx, storeKey, old, value, s.m.cfg.Now().Add(registrationTTL))
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return storeError(ctx, "saving a client registration", err)
	}
	return nil
}
