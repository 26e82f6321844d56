package session

import (
	"encoding/json"

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
// know, and with another format number.
func (m *Manager) WithMember(key string, value []byte, name, member string, format int) ([]byte, error) {
	r := new(record)
	if err := m.sealer.decode(sessionStoreKey(key), value, r); err != nil {
		return nil, err
	}
	r.Format = format
	r.unknown = map[string]json.RawMessage{name: json.RawMessage(member)}
	return m.sealer.encode(sessionStoreKey(key), r)
}

// Member returns a member of a stored session that this version does not know.
func (m *Manager) Member(key string, value []byte, name string) (string, error) {
	r := new(record)
	err := m.sealer.decode(sessionStoreKey(key), value, r)
	return string(r.unknown[name]), err
}
