package session

import (
	"encoding/json"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// SplitID is splitID.
var SplitID = splitID

// SessionStoreKey is sessionStoreKey.
var SessionStoreKey = sessionStoreKey

// DecodeSession reads a stored session and returns how it would be shown, and
// whether a caller with this owner and secret could use it.
func (m *Manager) DecodeSession(key string, value []byte, owner, secret string) (info Info, usable bool, err error) {
	r := new(record)
	if err := m.sealer.decode(sessionStoreKey(key), value, r); err != nil {
		return Info{}, false, err
	}
	return m.info(stored{record: r, key: key}), r.ownedBy(Caller{Owner: owner}, secret), nil
}

// EncodeSession writes a session as the store gets it.
func (m *Manager) EncodeSession(key, secret, owner, accessToken string) ([]byte, error) {
	return m.sealer.encode(sessionStoreKey(key), &record{Format: recordFormat, Secret: secret, Owner: owner, creds: oauthclient.Credentials{AccessToken: oauthclient.NewSecret(accessToken)}})
}

// WithMember returns a stored session with a member that this version does not
// know, in the record, in its credentials and in their registration, and with
// another format number.
func (m *Manager) WithMember(key string, value []byte, name, member string, format int) ([]byte, error) {
	r := new(record)
	if err := m.sealer.decode(sessionStoreKey(key), value, r); err != nil {
		return nil, err
	}
	r.Format = format
	added := `,"` + name + `":` + member
	r.unknown = added
	var credentials map[string]json.RawMessage
	encoded, err := r.creds.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded, &credentials); err != nil {
		return nil, err
	}
	credentials["registration"] = members.Add(credentials["registration"], added)
	if encoded, err = json.Marshal(credentials); err != nil {
		return nil, err
	}
	if err := r.creds.UnmarshalBinary(members.Add(encoded, added)); err != nil {
		return nil, err
	}
	return m.sealer.encode(sessionStoreKey(key), r)
}

// Plaintext returns the JSON of a stored session.
func (m *Manager) Plaintext(key string, value []byte) ([]byte, error) {
	return m.sealer.open(sessionStoreKey(key), value)
}
