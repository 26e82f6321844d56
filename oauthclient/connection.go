package oauthclient

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Connection is what a client and its MCP server agreed on: the revision, what
// the server says of itself, the MCP session ID, cookies of load balancers, and
// which arguments of its tools go into headers. It is part of [Credentials], so
// that every process that has them can call the server at once.
//
// A Connection is an opaque, unchanging value. The zero Connection means that
// nothing was agreed on yet. Losing one costs a negotiation and nothing else.
// It holds no token, but the MCP session ID and the cookies are secrets: fmt
// verbs and slog show nothing of them.
type Connection struct {
	state *connectionState // never changed; a pointer hides it when a struct around it is printed
}

type connectionState struct {
	id      string     // names this state; stores compare it
	conn    *wire.Conn // nil when nothing was agreed on
	cookies map[string]string
}

// MaxConnectionBytes bounds what [Connection.MarshalBinary] returns. What does
// not fit stays in the memory of one process: annotations of tools first, then
// what the server says of itself.
const MaxConnectionBytes = 8 << 10

// newConnection returns a connection with an identity of its own. A nil conn
// takes the place of a connection that ended.
func newConnection(conn *wire.Conn, cookies map[string]string) Connection {
	return Connection{&connectionState{id: rand.Text(), conn: conn, cookies: maps.Clone(cookies)}}
}

// IsZero reports whether nothing was agreed on.
func (c Connection) IsZero() bool { return c.conn() == nil }

// Equal reports whether two values are the same state of a connection. A
// [CredentialStore] compares with it.
func (c Connection) Equal(other Connection) bool { return c.id() == other.id() }

func (c Connection) id() string {
	if c.state == nil {
		return ""
	}
	return c.state.id
}

func (c Connection) conn() *wire.Conn {
	if c.state == nil {
		return nil
	}
	return c.state.conn
}

func (c Connection) cookies() map[string]string {
	if c.state == nil {
		return nil
	}
	return c.state.cookies
}

// sameSession reports whether two states belong to one MCP session.
func (c Connection) sameSession(other Connection) bool {
	a, b := c.conn(), other.conn()
	return c.Equal(other) || a != nil && b != nil && a.SessionID != "" && a.SessionID == b.SessionID
}

// Format implements [fmt.Formatter]; it shows nothing of the connection.
func (c Connection) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("Connection(" + redacted + ")"))
}

// connectionFormat is the version of the persistent form. A process that finds
// another one negotiates again.
const connectionFormat = 1

// connectionWire is the persistent form of a [Connection].
type connectionWire struct {
	Format  int               `json:"format"`
	ID      string            `json:"id"`
	Conn    *wire.Conn        `json:"conn,omitempty"`
	Cookies map[string]string `json:"cookies,omitempty"`
}

// MarshalBinary returns the connection in a form that UnmarshalBinary reads, at
// most [MaxConnectionBytes]: encrypt it.
func (c Connection) MarshalBinary() ([]byte, error) {
	if c.state == nil {
		return nil, nil
	}
	w := connectionWire{Format: connectionFormat, ID: c.state.id, Conn: c.state.conn, Cookies: c.state.cookies}
	for _, trim := range []func(*wire.Conn){
		func(*wire.Conn) {},
		func(conn *wire.Conn) { conn.Headers, conn.Listed = nil, false },
		func(conn *wire.Conn) { conn.Instructions = "" },
		func(conn *wire.Conn) { conn.Capabilities, conn.ServerInfo = nil, nil },
	} {
		if w.Conn != nil {
			conn := *w.Conn
			trim(&conn)
			w.Conn = &conn
		}
		if data, err := json.Marshal(w); err != nil || len(data) <= MaxConnectionBytes {
			return data, err
		}
	}
	return nil, errors.New("oauthclient: the connection data are too large")
}

// stored returns what is left of a connection when it is read from a store.
func (c Connection) stored() (stored Connection) {
	data, err := c.MarshalBinary()
	if err == nil {
		_ = stored.UnmarshalBinary(data) // it returns no error
	}
	return stored
}

// UnmarshalBinary replaces c with what MarshalBinary returned. Data that it
// cannot use give the zero Connection, not an error.
func (c *Connection) UnmarshalBinary(data []byte) error {
	*c = Connection{}
	var w connectionWire
	if len(data) == 0 || json.Unmarshal(data, &w) != nil || w.Format != connectionFormat {
		return nil
	}
	*c = Connection{&connectionState{id: w.ID, conn: w.Conn, cookies: w.Cookies}}
	return nil
}
