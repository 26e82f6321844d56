package session

import (
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// SplitID is splitID.
var SplitID = splitID

// SessionStoreKey is sessionStoreKey.
var SessionStoreKey = sessionStoreKey

// DecodeSession reads a stored session and tells how it would be shown, and
// whether somebody with this owner and secret could use it.
func (m *Manager) DecodeSession(key string, value []byte, owner, secret string) (info Info, usable bool, err error) {
	r, err := m.decode(key, value)
	if err != nil {
		return Info{}, false, err
	}
	return r.info(key, time.Time{}), r.ownedBy(Caller{Owner: owner}, secret), nil
}

// EncodeSession writes a session as the store gets it.
func (m *Manager) EncodeSession(key, secret, owner, accessToken string) ([]byte, error) {
	return m.encode(key, &record{Secret: secret, Owner: owner, creds: oauthclient.Credentials{AccessToken: oauthclient.NewSecret(accessToken)}})
}
