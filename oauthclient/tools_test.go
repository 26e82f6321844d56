package oauthclient_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestListToolsOverAllPages(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			wire.opts.ExtraTools, wire.opts.PageSize = 95, 10
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			tools, err := c.ListTools(t.Context())
			require.NoError(t, err)
			require.Len(t, tools, 95+len(mcptest.Tools()))
			seen := map[string]bool{}
			for _, tool := range tools {
				require.False(t, seen[tool.Name])
				seen[tool.Name] = true
				data, err := json.Marshal(tool)
				require.NoError(t, err)
				require.Contains(t, string(data), `"name":"`+tool.Name+`"`)
			}
			require.Equal(t, 11, w.mcp.Count("tools/list"))
		})
	}
}

func TestListToolsOfAnEmptyServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: mcptest.RawTools("")})
	tools, err := w.connected().ListTools(t.Context())
	require.NoError(t, err)
	require.NotNil(t, tools, "encodes as [], not as null")
	require.Empty(t, tools)
}

// Lists that never end: the same cursor again, and always another one.
func TestListToolsEndless(t *testing.T) {
	t.Parallel()
	n := 0
	rows := []struct {
		name string
		next func() string
	}{
		{"the same cursor", func() string { return "again" }},
		{"two cursors in turn", func() string { n++; return fmt.Sprint(n % 2) }},
		{"always another, with tools", func() string { n++; return fmt.Sprint(n) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: func(method string, _ json.RawMessage) *mcptest.RawReply {
				if method != "tools/list" {
					return nil
				}
				return &mcptest.RawReply{Result: json.RawMessage(fmt.Sprintf(`{"resultType":"complete","tools":[%s],"nextCursor":%q}`, mcptest.ExoticTool, row.next()))}
			}})
			c := w.connected(func(cfg *oauthclient.Config) { cfg.MaxTools = 20 })
			_, err := c.ListTools(t.Context())
			var limit *oauthclient.ResponseLimitError
			require.ErrorAs(t, err, &limit)
			require.LessOrEqual(t, w.mcp.Count("tools/list"), 22)
		})
	}
	t.Run("the same cursor, empty", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: func(method string, _ json.RawMessage) *mcptest.RawReply {
			if method != "tools/list" {
				return nil
			}
			return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"complete","tools":[],"nextCursor":"again"}`)}
		}})
		_, err := w.connected().ListTools(t.Context())
		var limit *oauthclient.ResponseLimitError
		require.ErrorAs(t, err, &limit)
		require.Equal(t, 2, w.mcp.Count("tools/list"))
	})
	t.Run("always another, empty", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: func(method string, params json.RawMessage) *mcptest.RawReply {
			if method != "tools/list" {
				return nil
			}
			var p struct{ Cursor string }
			_ = json.Unmarshal(params, &p)
			return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"complete","tools":[],"nextCursor":"x` + p.Cursor + `"}`)}
		}})
		c := w.connected(func(cfg *oauthclient.Config) { cfg.MaxTools = 20 })
		_, err := c.ListTools(t.Context())
		var limit *oauthclient.ResponseLimitError
		require.ErrorAs(t, err, &limit)
	})
	t.Run("one page that is too long", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		c := w.connected(func(cfg *oauthclient.Config) { cfg.MaxTools = len(mcptest.Tools()) - 1 })
		_, err := c.ListTools(t.Context())
		var limit *oauthclient.ResponseLimitError
		require.ErrorAs(t, err, &limit)
	})
}

// Unknown members, vendor keywords and large integers of a tool survive.
func TestToolFidelity(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			wire.opts.Raw = mcptest.RawTools("", `{"name":"invalid","inputSchema":{"type":"string"}}`, mcptest.ExoticTool, `{"name":"plain","inputSchema":{"type":"object"},"x":1}`)
			w := newWorld(t, authtest.Options{}, wire.opts)
			tools, err := w.connected().ListTools(t.Context())
			require.NoError(t, err)
			got := map[string]string{}
			for _, tool := range tools {
				data, err := json.Marshal(tool)
				require.NoError(t, err)
				byValue, err := json.Marshal(*tool)
				require.NoError(t, err)
				require.Equal(t, string(data), string(byValue))
				got[tool.Name] = string(data)
			}
			requireSameJSON(t, `{"name":"invalid","inputSchema":{"type":"string"}}`, got["invalid"])
			requireSameJSON(t, mcptest.ExoticTool, got["exotic"])
			requireSameJSON(t, `{"name":"plain","inputSchema":{"type":"object"},"x":1}`, got["plain"])
		})
	}
}

// requireSameJSON compares to the letter, but for the escaping that encoding/json
// adds.
func requireSameJSON(t *testing.T, want, got string) {
	t.Helper()
	wanted, err := json.Marshal(json.RawMessage(want))
	require.NoError(t, err)
	gotten, err := json.Marshal(json.RawMessage(got))
	require.NoError(t, err)
	require.Equal(t, string(wanted), string(gotten))
}
