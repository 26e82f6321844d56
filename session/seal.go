package session

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mcpoauth/mcpoauth/internal/members"
)

// sealKeyLen is the length of a seal key: AES-256.
const sealKeyLen = 32

// The first byte of a stored value names the form of the rest.
const (
	formPlain  = 0 // the plaintext
	formSealed = 2 // the name of the key, then AES-256-GCM: random nonce, ciphertext, tag
)

var (
	// errUnsealable is a stored value that is damaged, was moved here from
	// another store key, or was tampered with.
	errUnsealable = errors.New("session: a stored record is damaged, or belongs elsewhere")
	// errNewer is a record that a later version of this library wrote in a form
	// that this version does not know.
	errNewer = errors.New("session: a stored record was written by a later version")
)

// unknownKeyError is a stored value that was sealed with a key that this
// replica does not have.
type unknownKeyError struct{ name string }

func (e *unknownKeyError) Error() string {
	return fmt.Sprintf("session: a stored record is sealed with key %s, which is not among Config.SealKeys", e.name)
}

// sealer encrypts records. Each record is encrypted with a key of its own, which
// is derived from a key of the ring and the store key (HKDF, RFC 5869): so
// AES-GCM's limit of 2^32 random nonces per key holds for the writes of one
// record, and a record that is copied to another store key does not open.
type sealer struct{ ring []ringKey }

type ringKey struct {
	name [keyNameLen]byte
	key  []byte
}

// keyNameLen is the length of a key's name: a part of its hash.
const keyNameLen = 8

// newSealer returns a sealer for a key ring; without keys it stores plaintext.
func newSealer(keys [][]byte) sealer {
	var s sealer
	for _, key := range keys {
		sum := sha256.Sum256(append([]byte("mcpoauth name of seal key "), key...))
		s.ring = append(s.ring, ringKey{[keyNameLen]byte(sum[:]), bytes.Clone(key)})
	}
	return s
}

// aead returns the cipher of one record.
func (k ringKey) aead(storeKey string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.key, nil, "mcpoauth record "+storeKey, sealKeyLen)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts with the first key of the ring.
func (s sealer) seal(storeKey string, plaintext []byte) ([]byte, error) {
	if len(s.ring) == 0 {
		return append([]byte{formPlain}, plaintext...), nil
	}
	first := s.ring[0]
	aead, err := first.aead(storeKey)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 1+keyNameLen+len(plaintext)+aead.Overhead())
	out = append(append(out, formSealed), first.name[:]...)
	return aead.Seal(out, nil, plaintext, []byte(storeKey)), nil
}

// open decrypts with the key that the value names. With keys configured,
// plaintext is refused: otherwise write access to the store would be enough to
// forge.
func (s sealer) open(storeKey string, value []byte) ([]byte, error) {
	switch {
	case len(value) > 0 && value[0] == formPlain && len(s.ring) == 0:
		return value[1:], nil
	case len(value) < 1+keyNameLen || value[0] != formSealed:
		return nil, errUnsealable
	}
	name, body := value[1:1+keyNameLen], value[1+keyNameLen:]
	for _, k := range s.ring {
		if !bytes.Equal(k.name[:], name) {
			continue
		}
		aead, err := k.aead(storeKey)
		if err != nil {
			return nil, err
		}
		plaintext, err := aead.Open(nil, nil, body, []byte(storeKey))
		if err != nil {
			return nil, errUnsealable
		}
		return plaintext, nil
	}
	return nil, &unknownKeyError{hex.EncodeToString(name)}
}

// isOld reports whether a stored value is not sealed with the first key of the
// ring.
func (s sealer) isOld(value []byte) bool {
	return len(s.ring) > 0 && len(value) > keyNameLen && value[0] == formSealed && !bytes.Equal(value[1:1+keyNameLen], s.ring[0].name[:])
}

// recordFormat is the version of the form of records. A version that only adds
// members keeps the number: replicas keep members that they do not know.
const recordFormat = 1

// storable is a kind of record. Members of a later version are kept.
type storable interface {
	members() map[string]bool // the members of this version
	later() *string
}

// kept is the part of a record that this version does not know, see package
// members.
type kept struct{ unknown string }

func (k *kept) later() *string { return &k.unknown }

// encode returns the stored form of a record.
func (s sealer) encode(storeKey string, record storable) ([]byte, error) {
	plaintext, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	return s.seal(storeKey, members.Add(plaintext, *record.later()))
}

// decode reads the stored form of a record. Its errors are errUnsealable,
// *unknownKeyError and errNewer.
func (s sealer) decode(storeKey string, value []byte, record storable) error {
	plaintext, err := s.open(storeKey, value)
	if err != nil {
		return err
	}
	var version struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(plaintext, &version) != nil {
		return errUnsealable
	}
	if version.Format > recordFormat {
		return errNewer
	}
	if json.Unmarshal(plaintext, record) != nil {
		return errUnsealable
	}
	*record.later() = members.Unknown(plaintext, record.members())
	return nil
}

// isUnreadable reports whether a record exists that this replica cannot read:
// that is an outage, not an absent record, and the record must not be
// overwritten.
func isUnreadable(err error) bool {
	_, unknown := errors.AsType[*unknownKeyError](err)
	return unknown || errors.Is(err, errNewer)
}
