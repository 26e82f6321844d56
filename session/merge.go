package session

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// merge is for a [store.Merger]: two replicas have changed a record while at
// least one of them could not see the other's change. Of two sets of credentials
// only one can be the current one; everything else can be joined.
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
	here, errHere := m.decode(key, mine)
	there, errThere := m.decode(key, theirs) // of nothing: it was removed
	if errHere != nil || errThere != nil || !here.sameSession(there) {
		return nil, false
	}
	old := there
	if base != nil {
		var err error
		if old, err = m.decode(key, base); err != nil || !here.sameSession(old) {
			return nil, false
		}
	}
	r := *there
	if sameCredentials(here, there) {
		if there.Status == old.Status && (base != nil || here.Used.After(there.Used)) {
			r.Status, r.Reason = here.Status, here.Reason
		}
	} else {
		switch here.compareCredentials(there) {
		case 0:
			return nil, false
		case 1:
			r.creds, r.Grants, r.Grant, r.Saves = here.creds, here.Grants, here.Grant, here.Saves
			r.Status, r.Reason = here.Status, here.Reason
		}
	}
	r.Attempts, r.AttemptExpires = nil, later(there.AttemptExpires, here.AttemptExpires)
	for _, side := range []*record{there, here} {
		if side.Grants == r.Grants {
			r.Attempts = union(r.Attempts, side.Attempts)
		}
	}
	r.Used, r.Expires = later(there.Used, here.Used), later(there.Expires, here.Expires)
	merged, err := m.encode(key, &r)
	return merged, err == nil
}

func (r *record) sameSession(other *record) bool {
	return r.Secret == other.Secret && r.Created.Equal(other.Created)
}

// compareCredentials tells which of two different sets of credentials of one
// session is the later one: 1 for that of r, -1 for that of other, 0 if both
// were obtained with the same ones. An authorization outranks any refresh of an
// earlier one, and what works outranks the note that something did not.
func (r *record) compareCredentials(other *record) int {
	authorized := func(r *record) int {
		if r.creds.Authorized() {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(r.Grants, other.Grants),
		cmp.Compare(r.Saves, other.Saves),
		cmp.Compare(authorized(r), authorized(other)),
	)
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
