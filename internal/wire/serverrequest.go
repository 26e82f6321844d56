package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// maxReplies bounds how many requests of the server one request of ours gets
// answered.
const maxReplies = 100

// reply answers a request of the server with an HTTP request of its own.
func (x *exchange) reply(ctx context.Context, m message) {
	if x.replies++; modern(x.conn.Version) || x.replies > maxReplies {
		// From 2026-07-28 on, neither side may do this.
		x.c.Log.DebugContext(ctx, "a request of the MCP server is ignored", "method", clean(string(m.method)))
		return
	}
	if x.op.Asks && string(m.method) != "ping" {
		x.answerBeside(ctx, m)
		return
	}
	_ = x.c.notify(ctx, x.conn, x.replyTo(ctx, m)) // notify has logged it
}

// replyTo returns the response to a request of the server.
func (x *exchange) replyTo(ctx context.Context, m message) []byte {
	return m.reply(x.answer(ctx, m))
}

// reply returns the response with a result or an error.
func (m *message) reply(result json.RawMessage, rpcErr *jsonrpc.Error) []byte {
	body := append([]byte(`{"jsonrpc":"2.0","id":`), m.id...)
	if rpcErr != nil {
		text, _ := json.Marshal(rpcErr) // the data were valid when they were decoded
		body = append(append(body, `,"error":`...), text...)
	} else {
		body = append(append(body, `,"result":`...), result...)
	}
	return append(body, '}')
}

// answer returns what to answer a request of the server.
func (x *exchange) answer(ctx context.Context, m message) (json.RawMessage, *jsonrpc.Error) {
	if string(m.method) == "ping" {
		return json.RawMessage("{}"), nil
	}
	if x.op.OnRequest == nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found"}
	}
	result, err := x.op.OnRequest(ctx, string(m.method), bytes.Clone(m.params))
	if err == nil {
		var text []byte
		if text, err = json.Marshal(result); err == nil {
			return text, nil
		}
	}
	if rpc, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return nil, rpc
	}
	x.c.Log.DebugContext(ctx, "a request of the MCP server failed here", "method", clean(string(m.method)), "error", err)
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "Internal error"}
}

// notification passes progress of this request on, drops a request that the
// server withdraws, and skips what else comes.
func (x *exchange) notification(m message) {
	if string(m.method) == "notifications/cancelled" {
		Members(m.params, func(name, value []byte) {
			if string(name) == "requestId" {
				x.asked.withdraw(string(value))
			}
		})
	}
	if x.token == 0 || string(m.method) != "notifications/progress" {
		return
	}
	var ours bool
	p := mcp.ProgressNotificationParams{ProgressToken: x.token}
	Members(m.params, func(name, value []byte) {
		switch string(name) {
		case "progressToken":
			n, ok := number(value)
			ours = ok && n == float64(x.token)
		case "progress":
			p.Progress, _ = number(value)
		case "total":
			p.Total, _ = number(value)
		case "message":
			p.Message = string(Unquote(value))
		case "_meta":
			_ = json.Unmarshal(value, &p.Meta) // losing it is better than losing the progress
		}
	})
	if ours {
		x.op.OnProgress(p)
	}
}
