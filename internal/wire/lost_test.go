package wire_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

type answerer = func(w http.ResponseWriter, r *http.Request, m rpc)

func status(code int) answerer {
	return func(w http.ResponseWriter, _ *http.Request, _ rpc) { http.Error(w, "says so", code) }
}

func rpcError(code int, member string) answerer {
	return func(w http.ResponseWriter, _ *http.Request, m rpc) { fail(w, code, m, member) }
}

func silent(_ http.ResponseWriter, r *http.Request, _ rpc) { <-r.Context().Done() }

// Whether a connection is lost depends on the refusal of a call and, in doubt,
// on one more request.
func TestLost_RefusedCallAndOneMoreRequestDecide(t *testing.T) {
	t.Parallel()
	const gone, unknownTool, noMethod = `{"code":-32001,"message":"Session not found"}`, `{"code":-32602,"message":"unknown tool"}`, `{"code":-32601,"message":"Method not found"}`
	session, sessionless, newest := connOf("2025-06-18"), &wire.Conn{Version: "2025-06-18"}, connOf("2026-07-28")
	answers := func(text string) answerer {
		return func(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, text) }
	}
	for name, tc := range map[string]struct {
		conn        *wire.Conn
		call, probe answerer // no probe is expected where it is nil
		want        bool
	}{
		"session, 404":                    {session, status(404), nil, true},
		"session, 404 RPC":                {session, rpcError(404, gone), nil, true},
		"session, 400, ping fails":        {session, status(400), status(400), true},
		"session, 400 RPC, ping fails":    {session, rpcError(400, gone), rpcError(400, gone), true},
		"session, 410, ping fails":        {session, status(410), status(410), true},
		"session, 200 RPC, ping fails":    {session, rpcError(200, gone), rpcError(200, gone), true},
		"session, RPC, ping 404":          {session, rpcError(200, unknownTool), status(404), true},
		"session, unknown tool":           {session, rpcError(200, unknownTool), answers(`{}`), false},
		"session, unknown tool, 400":      {session, rpcError(400, unknownTool), answers(`{}`), false},
		"session, no ping":                {session, rpcError(200, unknownTool), rpcError(200, noMethod), false},
		"session, no ping, 400":           {session, status(400), rpcError(400, noMethod), false},
		"session, no method, 404":         {session, rpcError(404, noMethod), rpcError(404, noMethod), true},
		"session, ping unauthorized":      {session, status(400), status(401), false},
		"session, ping unavailable":       {session, status(400), status(503), false},
		"session, ping limited":           {session, status(400), rpcError(429, gone), false},
		"session, ping silent":            {session, status(400), silent, false},
		"session, ping malformed":         {session, status(400), status(200), false},
		"session, 401":                    {session, status(401), nil, false},
		"session, 403":                    {session, status(403), nil, false},
		"session, 429":                    {session, status(429), nil, false},
		"session, 500":                    {session, status(500), nil, false},
		"session, 422":                    {session, status(422), nil, false},
		"session, malformed":              {session, status(200), nil, false},
		"session, URL elicitation":        {session, rpcError(200, `{"code":-32042,"message":"?"}`), nil, false},
		"session, now newest":             {session, rpcError(400, `{"code":-32022,"message":"?"}`), nil, true},
		"session, now newest, headers":    {session, rpcError(400, `{"code":-32020,"message":"?"}`), nil, true},
		"no session, 400, ping fails":     {sessionless, status(400), status(400), true},
		"no session, 404":                 {sessionless, status(404), answers(`{}`), false},
		"no session, RPC":                 {sessionless, rpcError(200, gone), nil, false},
		"newest, unsupported":             {newest, rpcError(400, `{"code":-32022,"message":"?","data":{"supported":["2025-11-25"]}}`), nil, true},
		"newest, 400, discover fails":     {newest, status(400), status(400), true},
		"newest, 400, no discover":        {newest, rpcError(400, `{"code":-32600,"message":"no session"}`), rpcError(200, noMethod), true},
		"newest, 404, no newest any more": {newest, status(404), answers(`{"supportedVersions":["2025-11-25"]}`), true},
		"newest, 400, discover works":     {newest, status(400), answers(discovered), false},
		"newest, 400, discover odd":       {newest, status(400), answers(`{}`), false},
		"newest, 400, discover silent":    {newest, status(400), silent, false},
		"newest, 400, discover refused":   {newest, status(400), status(403), false},
		"newest, 400, discover down":      {newest, status(400), status(502), false},
		"newest, 400, discover mismatch":  {newest, status(400), rpcError(400, `{"code":-32020,"message":"?"}`), false},
		"newest, unknown tool":            {newest, rpcError(400, unknownTool), nil, false},
		"newest, unknown method":          {newest, rpcError(404, noMethod), nil, false},
		"newest, header mismatch":         {newest, rpcError(400, `{"code":-32020,"message":"?"}`), nil, false},
		"newest, capability":              {newest, rpcError(400, `{"code":-32021,"message":"?"}`), nil, false},
		"newest, 401":                     {newest, status(401), nil, false},
		"newest, RPC":                     {newest, rpcError(200, gone), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
				if m.Method == "tools/call" {
					tc.call(w, r, m)
				} else {
					tc.probe(w, r, m)
				}
			})
			if strings.HasSuffix(name, "silent") {
				f.DiscoverTimeout = 2 * time.Second // in which the request arrives
			}
			op := f.NewOp()
			_, err := f.Call(t.Context(), tc.conn, op, toolCall)
			require.Error(t, err)
			require.Equal(t, tc.want, f.Lost(t.Context(), tc.conn, op, err))
			if tc.probe == nil {
				require.Len(t, f.requests(), 1)
			} else {
				require.Len(t, f.requests(), 2)
				require.Equal(t, tc.conn.SessionID, f.request(1).Header.Get("Mcp-Session-Id"))
			}
		})
	}
	c := newClient("http://127.0.0.1:1")
	require.False(t, c.Lost(t.Context(), session, c.NewOp(), context.Canceled))
	require.False(t, c.Lost(t.Context(), session, c.NewOp(), wire.ErrBroken))
}
