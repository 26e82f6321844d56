package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A caller reads of a refusal what the host says on purpose. The log has the rest.
func TestRefusedByHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	blocked := "https://blocked.example/mcp"
	w.replica(t, byHeader, func(c *session.Config) {
		c.AllowServer = func(_ context.Context, _ session.Caller, serverURL string) error {
			if serverURL == blocked {
				return errors.New("row 17 of table " + canary)
			}
			return nil
		}
		c.ToolFilter = func(_ context.Context, _ session.Info, tool *oauthclient.Tool) bool { return tool.Name != "admin" }
		c.BeforeCall = func(_ context.Context, _ session.Info, tool string, _ json.RawMessage) error {
			switch tool {
			case "add":
				return &session.RefusedError{Text: "Adding is for administrators.", Err: errors.New(canary)}
			case "fail":
				// The failure of another session is none of this one.
				return &oauthclient.AuthorizationRequiredError{AuthURL: "https://as.example/" + canary}
			}
			return nil
		}
	})
	b := w.browser(t, "alice")
	id := b.authorized()
	for _, a := range []answer{b.connectTo(blocked), b.call(id, "admin", `{}`), b.call(id, "fail", `{}`)} {
		require.Equal(t, 403, a.status)
		require.Equal(t, `{"error":"This application does not allow this.","code":"refused_by_host"}`, a.body)
	}
	a := b.call(id, "add", `{"a":1,"b":2}`, "Accept", "text/event-stream")
	require.Equal(t, 403, a.status)
	require.Equal(t, `{"error":"Adding is for administrators.","code":"refused_by_host"}`, a.body)
	require.NotContains(t, b.list(id).body, "admin")
	require.Contains(t, w.log.String(), "row 17 of table "+canary)

	a = b.call(id, "echo", `{"a":1,"a":2}`)
	require.Equal(t, 400, a.status)
	require.Equal(t, `{"error":"toolArgs must not have a name twice in an object.","code":"invalid_request"}`, a.body)
	require.Equal(t, 200, b.call(id, "echo", `{"a":1}`).status)
	require.Equal(t, 1, w.mcp.Count("tools/call"))
}
