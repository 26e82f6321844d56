package oauthclient

import (
	"encoding/json"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// SampleConnection is a connection with instructions of a length.
func SampleConnection(instructions string) Connection {
	return newConnection(&wire.Conn{
		Version: "2025-11-25", SessionID: "mcp-session-canary", Instructions: instructions,
		ServerInfo: json.RawMessage(`{"name":"s","version":"1"}`),
		Headers:    map[string][]wire.Header{"tool": {{Name: "Region", Path: []string{"region"}}}}, Listed: true,
	}, map[string]string{"sticky": "cookie-canary"})
}

// ConnectionSession returns the MCP session ID of a connection.
func ConnectionSession(c Connection) string {
	if c.IsZero() {
		return ""
	}
	return c.conn().SessionID
}

// SameSite is sameSite.
var SameSite = sameSite

// MemoryRegistrations is how much a memory store holds.
func MemoryRegistrations(store RegistrationStore) int {
	m := store.(*memoryRegistrations)
	return len(m.registrations) + len(m.updates)
}
