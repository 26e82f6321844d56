package oauthclient

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// connection returns the connection data, from the store if there are any, and
// the credentials that were read with them. If there are none it negotiates, once
// for all concurrent callers with the same binding.
func (c *MCPOAuthClient) connection(ctx context.Context) (Connection, *Credentials, error) {
	if c.isDisconnected() {
		return Connection{}, nil, ErrNotConnected
	}
	creds := c.read.Swap(nil)
	if creds == nil {
		loaded, err := c.provider.load(ctx)
		if err != nil {
			return Connection{}, nil, err
		}
		creds = &loaded
	}
	if connection := c.full(creds.Connection); !connection.IsZero() {
		var err error
		if c.isUnsaved(connection) {
			connection, err = c.save(ctx, creds.Connection, connection)
		}
		return connection, creds, err
	}
	agreed, err := c.cfg.inFlight(ctx, "negotiate "+c.provider.binding, func(ctx context.Context) (any, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ConnectTimeout, errCallTimeout)
		defer cancel()
		connection, err := c.negotiate(ctx)
		return connection, callError(ctx, "connecting to the MCP server", err)
	})
	if err != nil {
		return Connection{}, nil, err
	}
	return agreed.(Connection), nil, nil
}

// maxNegotiations bounds how often one negotiation begins again.
const maxNegotiations = 3

// negotiate agrees on a connection with the server and saves it in place of the
// stored one. Where another call or process was faster, its connection counts.
// Where a new grant came, which ends all connections, the negotiation begins
// again.
func (c *MCPOAuthClient) negotiate(ctx context.Context) (Connection, error) {
	for range maxNegotiations {
		creds, err := c.provider.load(ctx)
		if err != nil {
			return Connection{}, err
		}
		if connection := c.full(creds.Connection); !connection.IsZero() {
			return connection, nil
		}
		made, err := c.agree(ctx, creds.Connection)
		if err != nil {
			return Connection{}, err
		}
		kept, err := c.save(ctx, creds.Connection, made)
		if err != nil || !kept.Equal(made) {
			c.endUnused(ctx, made, creds)
		}
		if err != nil || !kept.IsZero() {
			return kept, err
		}
	}
	return Connection{}, &TemporaryError{Op: "connecting to the MCP server", Err: errors.New("the connection was ended while it was made")}
}

// agree agrees on a connection with the server, which gets the cookies of old.
func (c *MCPOAuthClient) agree(ctx context.Context, old Connection) (Connection, error) {
	c.cookies.forget()
	origin := c.cfg.origins.of(c.cfg.ServerURL)
	client := c.authorized(nil)
	conn, err := client.Negotiate(ctx, client.NewOp(), origin.isLegacy(c.cfg.Now()))
	if err != nil {
		return Connection{}, c.answerError(ctx, "connecting to the MCP server", err, client.HTTP.Transport.(*transport).sentValues())
	}
	origin.learn(conn.Version, c.cfg.Now())
	made := newConnection(conn, c.cookies.present(c.full(old)))
	c.cookies.forget()
	return made, nil
}

// save puts updated in place of old, and returns what is stored then. If the
// store can be read but not written, updated lives in the memory of this
// process until it can be saved.
func (c *MCPOAuthClient) save(ctx context.Context, old, updated Connection) (Connection, error) {
	kept, err := c.cfg.Credentials.SetConnection(ctx, old, updated)
	if err != nil {
		if _, loadErr := c.provider.load(ctx); loadErr != nil {
			return Connection{}, loadErr
		}
		c.cfg.Logger.WarnContext(ctx, "mcpoauth: the connection data cannot be saved", "error", err)
		kept = updated
	}
	if c.isDisconnected() {
		return Connection{}, ErrNotConnected
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.local, c.replaces = Connection{}, nil
	switch {
	case err != nil:
		c.local, c.replaces = updated, &old
	case kept.Equal(updated):
		if isTrimmed(updated) {
			c.local = updated
		}
		return updated, nil
	}
	return kept, nil
}

// isTrimmed reports whether the stored form of a connection lacks something.
func isTrimmed(connection Connection) bool {
	full, cut := connection.conn(), connection.stored().conn()
	if full == nil || cut == nil {
		return full != cut
	}
	return full.Listed != cut.Listed || full.Instructions != cut.Instructions || len(full.ServerInfo) != len(cut.ServerInfo)
}

// keepLocal keeps conn in the memory of this process: it is the connection old with
// data for which the stored form has no room. It returns the new connection.
func (c *core) keepLocal(old Connection, conn *wire.Conn) Connection {
	more := Connection{&connectionState{id: old.id(), conn: conn, cookies: old.cookies()}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.local.Equal(old) {
		c.replaces = nil
	}
	c.local = more
	return more
}

// full returns the connection that this process has in memory for a stored one,
// or the stored one itself.
func (c *core) full(stored Connection) Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.replaces != nil && c.replaces.Equal(stored) || !c.local.IsZero() && c.local.Equal(stored) {
		return c.local
	}
	return stored
}

// isUnsaved reports whether a connection is in this process's memory alone.
func (c *core) isUnsaved(connection Connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replaces != nil && c.local.Equal(connection)
}

// drop forgets a connection whose MCP session the server has lost, unless
// another process has made a new one in the meantime. If the store can be read
// but not written, only this process forgets it.
func (c *MCPOAuthClient) drop(ctx context.Context, lost Connection) error {
	old := c.forgetLocal(lost)
	ended := newConnection(nil, nil)
	for {
		now, err := c.cfg.Credentials.SetConnection(ctx, old, ended)
		if err != nil {
			if _, loadErr := c.provider.load(ctx); loadErr != nil {
				return loadErr
			}
			c.cfg.Logger.WarnContext(ctx, "mcpoauth: the connection data cannot be saved", "error", err)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.local, c.replaces = ended, &old
			return nil
		}
		if now.Equal(ended) || !now.sameSession(lost) {
			return nil
		}
		old = now // the annotations of its tools were added
	}
}

// forgetLocal forgets a connection in the memory of this process, and returns
// the connection that the store has in its place.
func (c *core) forgetLocal(lost Connection) (stored Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.local.sameSession(lost) {
		return lost
	}
	stored = lost
	if c.replaces != nil {
		stored = *c.replaces
	}
	c.local, c.replaces = Connection{}, nil
	return stored
}

// endUnused ends the MCP session of a connection that was negotiated in vain. used
// are the credentials that the negotiation began with.
func (c *MCPOAuthClient) endUnused(ctx context.Context, unused Connection, used Credentials) {
	used.Connection = unused
	if c.end(ctx, used) == nil {
		return
	}
	// They may have been refreshed.
	now, err := c.provider.load(context.WithoutCancel(ctx))
	if err == nil && now.Authorized() && !now.AccessToken.Equal(used.AccessToken) {
		now.Connection = unused
		_ = c.end(ctx, now) // end has logged it
	}
}

// originMemory remembers for an hour which servers do not speak revision
// 2026-07-28, so that a server that does not answer server/discover costs the
// wait once.
type originMemory struct {
	mu     sync.Mutex
	legacy map[string]time.Time // until when
}

const (
	originTTL  = time.Hour
	maxOrigins = 10_000 // beyond it, the memory starts again
)

// origin is one server in the memory.
type origin struct {
	m    *originMemory
	name string
}

func (m *originMemory) of(serverURL string) origin {
	u, err := url.Parse(serverURL)
	if err != nil {
		return origin{m, serverURL}
	}
	return origin{m, u.Scheme + "://" + u.Host + u.Path}
}

func (o origin) isLegacy(now time.Time) bool {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	return now.Before(o.m.legacy[o.name])
}

func (o origin) learn(version string, now time.Time) {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	if version >= modernVersion {
		delete(o.m.legacy, o.name)
		return
	}
	if o.m.legacy == nil || len(o.m.legacy) >= maxOrigins {
		o.m.legacy = make(map[string]time.Time)
	}
	o.m.legacy[o.name] = now.Add(originTTL)
}

// modernVersion is the first revision without a handshake. Revisions are dates,
// so they compare as strings.
const modernVersion = "2026-07-28"
