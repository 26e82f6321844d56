package httpapi_test

import (
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// exchange is one request and its answer, as the tests of this package saw
// them. What describes the API elsewhere, types.ts and openapi.json, is checked
// against all of them: see internal/frontend and internal/openapi. A row of
// guardRows is one as well, with the method "guard".
type exchange struct {
	Method, Target string
	RequestHeader  http.Header
	Request        string
	Status         int
	Header         http.Header
	Answer         string
}

// recording is the file that MCPOAUTH_RECORD names, one exchange a line.
var recording struct {
	sync.Mutex
	*json.Encoder
}

// record notes an exchange, if anybody wants to know.
func record(t testing.TB, e exchange) {
	t.Helper()
	path := os.Getenv("MCPOAUTH_RECORD")
	if path == "" {
		return
	}
	recording.Lock()
	defer recording.Unlock()
	if recording.Encoder == nil {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		require.NoError(t, err)
		recording.Encoder = json.NewEncoder(file)
	}
	require.NoError(t, recording.Encode(e))
}
