package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// answer is what the endpoints of the library answer.
type answer struct {
	Status int `json:"-"`

	Success, RequiresAuth, IsError             bool
	AuthURL, SessionID, AttemptID, Error, Code string

	Tools   []struct{ Name string }
	Content []struct{ Text string }
	Attempt struct{ Status, Code string }
}

// text is the text of a tool's result.
func (a answer) text() string {
	if len(a.Content) == 0 {
		return ""
	}
	return a.Content[0].Text
}

// scopes are the scopes that an authorization URL asks for.
func (a answer) scopes(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(a.AuthURL)
	require.NoError(t, err)
	return u.Query().Get("scope")
}

func (h *host) connect(t *testing.T, serverURL string) answer {
	t.Helper()
	return h.mustSend(t, http.MethodPost, "/auth/connect", map[string]any{"serverUrl": serverURL})
}

// connectFresh is connect for a user whose sign-in page shows an error.
func (h *host) connectFresh(t *testing.T, serverURL string) answer {
	t.Helper()
	return h.mustSend(t, http.MethodPost, "/auth/connect", map[string]any{"serverUrl": serverURL, "fresh": true})
}

// status returns where an authorization stands.
func (h *host) status(t *testing.T, begun answer) answer {
	t.Helper()
	return h.mustSend(t, http.MethodGet, "/auth/status?sessionId="+begun.SessionID+"&attemptId="+begun.AttemptID, nil)
}

func (h *host) listTools(t *testing.T, sessionID string) answer {
	t.Helper()
	return h.mustSend(t, http.MethodGet, "/tool/list?sessionId="+sessionID, nil)
}

func (h *host) call(t *testing.T, sessionID, tool string) answer {
	t.Helper()
	called, err := h.tryCall(t.Context(), sessionID, tool)
	require.NoError(t, err)
	return called
}

// tryCall is call for other goroutines than the test's.
func (h *host) tryCall(ctx context.Context, sessionID, tool string) (answer, error) {
	return h.send(ctx, http.MethodPost, "/tool/call", map[string]any{"sessionId": sessionID, "toolName": tool})
}

func (h *host) disconnect(t *testing.T, sessionID string) answer {
	t.Helper()
	return h.mustSend(t, http.MethodPost, "/auth/disconnect", map[string]any{"sessionId": sessionID})
}

func (h *host) mustSend(t *testing.T, method, path string, body any) answer {
	t.Helper()
	out, err := h.send(t.Context(), method, path, body)
	require.NoError(t, err)
	return out
}

func (h *host) send(ctx context.Context, method, path string, body any) (out answer, err error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, h.public+"/api/mcp"+path, bytes.NewReader(encoded))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.user.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	out.Status = resp.StatusCode
	return out, json.NewDecoder(resp.Body).Decode(&out)
}
