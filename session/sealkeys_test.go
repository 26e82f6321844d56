package session_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/session"
)

func TestParseSealKeys(t *testing.T) {
	t.Parallel()
	first, second := bytes.Repeat([]byte("1"), 32), bytes.Repeat([]byte("2"), 32)
	encode := base64.StdEncoding.EncodeToString
	keys, err := session.ParseSealKeys(encode(first) + ", " + encode(second) + "\n")
	require.NoError(t, err)
	require.Equal(t, [][]byte{first, second}, keys)
	keys, err = session.ParseSealKeys("")
	require.NoError(t, err)
	require.Empty(t, keys)

	for name, row := range map[string]struct{ list, want string }{
		"not base64":   {encode(first) + ",canary!", "seal key 2 is not base64; make a key with: openssl rand -base64 32"},
		"short":        {encode([]byte("canary: short")), "seal key 1 is 13 bytes long, want 32"},
		"long":         {encode(bytes.Repeat([]byte("k"), 33)), "seal key 1 is 33 bytes long, want 32"},
		"last comma":   {encode(first) + ",", "seal key 2 is 0 bytes long"},
		"only a space": {" ", "seal key 1 is 0 bytes long"},
	} {
		keys, err := session.ParseSealKeys(row.list)
		require.ErrorContains(t, err, row.want, name)
		require.NotContains(t, err.Error(), "canary", name)
		require.Nil(t, keys, name)
	}
}
