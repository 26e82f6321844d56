package httpapi_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
)

// A host that logs what it decoded logs no secret.
func TestFormat_DecodedMessagesShowNoSecret(t *testing.T) {
	t.Parallel()
	const canary = "canary-0123456789"
	status := httpapi.SessionStatus{SessionID: canary, ServerURL: canary}
	for _, message := range []any{
		httpapi.ConnectSuccess{SessionID: canary}, httpapi.AuthRequired{AuthURL: canary, SessionID: canary},
		httpapi.CallbackRequest{Code: canary, State: canary, SessionID: canary}, httpapi.DisconnectRequest{SessionID: canary},
		httpapi.CallToolRequest{SessionID: canary, ToolArgs: json.RawMessage(`"` + canary + `"`)},
		status, httpapi.SessionSummary{SessionStatus: status}, httpapi.SessionList{Sessions: []httpapi.SessionSummary{{SessionStatus: status}}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, form := range []any{message, &message, []any{message}, struct{ V any }{message}} {
				require.NotContains(t, fmt.Sprintf(verb, form), canary, "%T as %s", message, verb)
			}
		}
		var log testlog.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(h).Info("x", "message", message)
		}
		require.NotContains(t, log.String(), canary, "%T in a log", message)
		require.NotEmpty(t, log.String())
		encoded, err := json.Marshal(message)
		require.NoError(t, err)
		require.Contains(t, string(encoded), canary, "%T for its recipient", message)
	}
}
