package session

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// merge is for a [store.Merger]: two replicas have changed a record while at
// least one of them could not see the other's change. Of two new sets of
// credentials only one can be the current one, that of an authorization rather
// than that of a refresh; everything else can be joined.
func (m *Manager) merge(storeKey string, base, mine, theirs []byte) (merged []byte, ok bool) {
	switch kind, key, _ := strings.Cut(storeKey, ":"); kind {
	case "session":
		return m.mergeSessions(key, base, mine, theirs)
	case "owner":
		return m.mergeOwners(storeKey, base, mine, theirs)
	}
	return nil, false // an attempt that was taken twice, or a registration: whichever is stored
}

func (m *Manager) mergeSessions(key string, base, mine, theirs []byte) (merged []byte, ok bool) {
	var records [3]*record
	for i, value := range [][]byte{base, mine, theirs} {
		r, err := m.decode(key, value)
		if err != nil || i > 0 && (r.Secret != records[0].Secret || !r.Created.Equal(records[0].Created)) {
			return nil, false
		}
		records[i] = r
	}
	old, here, there := records[0], records[1], records[2]
	r := *there
	switch {
	case sameCredentials(old, here):
		if sameCredentials(old, there) && there.Status == old.Status {
			r.Status, r.Reason = here.Status, here.Reason
		}
	case sameCredentials(here, there):
	case sameCredentials(old, there),
		here.creds.Authorized() && !there.creds.Authorized(),
		here.creds.Authorized() && here.Grants > old.Grants && there.Grants == old.Grants: // an authorization outranks a refresh
		r.creds, r.Status, r.Reason = here.creds, here.Status, here.Reason
	default:
		return nil, false
	}
	if r.Grants = there.Grants + here.Grants - old.Grants; sameCredentials(here, there) {
		r.Grants = max(there.Grants, here.Grants) // those of one authorization
	}
	if r.Grants == old.Grants {
		r.Attempts = union(there.Attempts, here.Attempts)
		r.AttemptExpires = later(there.AttemptExpires, here.AttemptExpires)
	} else {
		r.Attempts = nil
	}
	r.Used, r.Expires = later(there.Used, here.Used), later(there.Expires, here.Expires)
	merged, err := m.encode(key, &r)
	return merged, err == nil
}

// mergeOwners joins lists of sessions. A session that was removed on one side
// is in the record of base and not in that side's.
func (m *Manager) mergeOwners(storeKey string, base, mine, theirs []byte) (merged []byte, ok bool) {
	var lists [3]ownerRecord
	for i, value := range [][]byte{base, mine, theirs} {
		if value == nil {
			continue // there was no list
		}
		plaintext, err := m.sealer.open(storeKey, value)
		if err != nil || json.Unmarshal(plaintext, &lists[i]) != nil {
			return nil, false
		}
	}
	old, here, there := lists[0].Sessions, lists[1].Sessions, lists[2].Sessions
	r := ownerRecord{Sessions: slices.DeleteFunc(union(there, here), func(key string) bool {
		return slices.Contains(old, key) && !(slices.Contains(here, key) && slices.Contains(there, key))
	})}
	plaintext, err := json.Marshal(r)
	if err != nil {
		return nil, false
	}
	return m.sealer.seal(storeKey, plaintext), true
}

func union[T comparable](a, b []T) []T {
	joined := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(joined, x) {
			joined = append(joined, x)
		}
	}
	return joined
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
