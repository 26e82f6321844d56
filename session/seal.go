package session

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// sealKeyLen is the length of a seal key: AES-256.
const sealKeyLen = 32

// The first byte of a stored value tells how the rest is to be read.
const (
	formatPlain  = 0 // the plaintext
	formatSealed = 1 // AES-256-GCM: random nonce, ciphertext, tag
)

// errUnsealable is a stored value that no key opens: it was sealed with a key
// that is gone, belongs to another record, or was tampered with.
var errUnsealable = errors.New("session: a stored record cannot be opened with any of Config.SealKeys")

// sealer encrypts records. The store key a record lives under is the
// additional data, so a record copied to another place does not open.
type sealer []cipher.AEAD

// newSealer returns a sealer for a key ring; without keys it stores plaintext.
func newSealer(keys [][]byte) (sealer, error) {
	var s sealer
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		s = append(s, aead)
	}
	return s, nil
}

// seal encrypts with the first key.
func (s sealer) seal(storeKey string, plaintext []byte) []byte {
	if len(s) == 0 {
		return append([]byte{formatPlain}, plaintext...)
	}
	out := make([]byte, 1, 1+len(plaintext)+s[0].Overhead())
	out[0] = formatSealed
	return s[0].Seal(out, nil, plaintext, []byte(storeKey))
}

// open decrypts with whichever key fits. With keys configured, plaintext is
// refused: otherwise write access to the store would be enough to forge.
func (s sealer) open(storeKey string, value []byte) ([]byte, error) {
	if len(value) == 0 {
		return nil, errUnsealable
	}
	format, body := value[0], value[1:]
	if len(s) == 0 && format == formatPlain {
		return body, nil
	}
	if format == formatSealed {
		for _, aead := range s {
			if plaintext, err := aead.Open(nil, nil, body, []byte(storeKey)); err == nil {
				return plaintext, nil
			}
		}
	}
	return nil, errUnsealable
}
