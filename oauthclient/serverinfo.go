package oauthclient

import (
	"context"
	"encoding/json"
)

// ServerDescription is what a server said of itself when the connection was made.
type ServerDescription struct {
	// ProtocolVersion is the revision that was agreed on, such as "2026-07-28".
	ProtocolVersion string
	// Info and Capabilities are the server's own JSON objects; nil if it sent
	// none, or more than [MaxConnectionBytes] hold.
	Info         json.RawMessage
	Capabilities json.RawMessage
	// Instructions say how to use the server. They are the server's text.
	Instructions string
}

// Server returns what the server said of itself. It asks the server only if there
// is no connection yet. Errors are those of [MCPOAuthClient.Connect].
func (c *MCPOAuthClient) Server(ctx context.Context) (d ServerDescription, err error) {
	err = c.do(ctx, "connecting", c.newOp(), func(_ context.Context, op *operation) error {
		conn := op.connection.conn()
		d = ServerDescription{ProtocolVersion: conn.Version, Info: conn.ServerInfo, Capabilities: conn.Capabilities, Instructions: conn.Instructions}
		return nil
	})
	return d, err
}
