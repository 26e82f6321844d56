package httpapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// A time-out says who took too long, and that no tool was called where that is
// certain.
func TestTimeoutsSayWhetherAToolWasCalled(t *testing.T) {
	t.Parallel()
	const (
		authServer = "The authorization server took too long to answer. "
		server     = "The server took too long to answer. "
		notCalled  = "No tool was called."
		unknown    = "What it did is not known."
	)
	request := func(c *session.Config) { c.Client.RequestTimeout = time.Second }
	call := func(c *session.Config) { c.Client.CallTimeout = 5 * time.Second }
	for name, tc := range map[string]struct {
		limit   func(*session.Config)
		first   bool // the tools were not listed before
		expired bool // the access token has ended by time
		revoked bool // the MCP server refuses the access token
		hang    func(*world) (release func())
		text    string
		sent    int // requests of tools/call
	}{
		"the token has expired, a refresh hangs":       {request, false, true, false, blockToken, authServer + notCalled, 0},
		"the call was refused, a refresh hangs":        {request, false, false, true, blockToken, authServer + notCalled, 1},
		"the call's time ends in a refresh":            {call, false, true, false, blockToken, server + notCalled, 0},
		"the listing of tools before the call hangs":   {call, true, false, false, blockList, server + notCalled, 0},
		"the listing was refused, and a refresh hangs": {request, true, false, true, blockToken, authServer + notCalled, 0},
		"the call hangs": {call, false, false, false, blockCall, server + unknown, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.replica(t)
			b := w.browser(t, "")
			id := b.authorized()
			if !tc.first {
				require.Equal(t, 200, b.call(id, "whoami", `{}`).status)
			}
			w.replica(t, tc.limit, func(c *session.Config) {
				if tc.expired {
					c.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
				}
			})
			if tc.revoked {
				w.as.ExpireAccessTokens()
			}
			before := w.mcp.Count("tools/call")
			release := tc.hang(w)
			defer release()
			a := b.call(id, "echo", `{}`)
			require.Equal(t, 504, a.status, a.body)
			require.Equal(t, httpapi.ErrorResponse{Code: httpapi.CodeUpstreamTimeout, Error: tc.text}, *a.ErrorResponse)
			require.Equal(t, tc.sent, w.mcp.Count("tools/call")-before)
			require.Zero(t, w.mcp.Executed("echo"))
		})
	}
}

func blockList(w *world) (release func())  { return w.mcp.BlockRPC("tools/list") }
func blockToken(w *world) (release func()) { return w.as.Block(authtest.EndpointToken) }
func blockCall(w *world) (release func())  { return w.mcp.BlockRPC("tools/call") }
