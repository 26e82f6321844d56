package session

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// makeKey ends the errors about keys.
const makeKey = "; make a key with: openssl rand -base64 32"

// ParseSealKeys decodes the keys for [Config].SealKeys from the form that fits
// into an environment variable: standard base64 of 32 bytes each, separated by
// commas. An empty string has no keys. An error names the entry that is wrong,
// and shows nothing of a key.
func ParseSealKeys(list string) (keys [][]byte, err error) {
	if list == "" {
		return nil, nil
	}
	for i, entry := range strings.Split(list, ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("session: seal key %d is not base64%s", i+1, makeKey)
		}
		if len(key) != sealKeyLen {
			return nil, fmt.Errorf("session: seal key %d is %d bytes long, want %d%s", i+1, len(key), sealKeyLen, makeKey)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
