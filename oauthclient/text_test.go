package oauthclient_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestCallToolResult_Text(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		`{"content":[{"type":"text","text":"one"},{"type":"hologram"},{"type":"image","data":"","mimeType":"image/png"},{"type":"text","text":"two"}]}`: "one\ntwo",
		`{"structuredContent":{"sum":42}}`: "",
		`{"content":[]}`:                   "",
	} {
		var result oauthclient.CallToolResult
		require.NoError(t, json.Unmarshal([]byte(sent), &result))
		require.Equal(t, want, result.Text(), sent)
	}
	require.Empty(t, oauthclient.CallToolResult{}.Text())
}
