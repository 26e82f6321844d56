package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/singleflight"
)

// MCPOAuthClient is one user's connection to one MCP server. It connects when
// first used, stays connected, and reconnects when the server ended the MCP
// session. When the user must authorize, methods return
// [*AuthorizationRequiredError]; after FinishAuth the same client works.
//
// An MCPOAuthClient is safe for concurrent use. The zero value is not usable.
type MCPOAuthClient struct {
	cfg      config
	provider *OAuthProvider
	http     *http.Client
	flight   singleflight.Group
	tokens   atomic.Int64
	closing  sync.WaitGroup // sessions being closed in the background

	mu           sync.Mutex
	session      *mcp.ClientSession
	pages        map[string]toolPage
	disconnected bool
	epoch        int                // counts Close and Disconnect; a connect that spans one is void
	cancel       context.CancelFunc // of the connect in progress, if any
}

// New validates cfg and returns a client. It does no I/O. The error, if any,
// names every mistake in cfg.
func New(cfg Config) (*MCPOAuthClient, error) {
	completed, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	provider := newOAuthProvider(completed)
	return &MCPOAuthClient{
		cfg: completed, provider: provider, pages: make(map[string]toolPage),
		http: newMCPHTTPClient(&transport{base: completed.Transport, provider: provider, limit: completed.MaxResponseBytes}, completed.MaxRedirects),
	}, nil
}

// Format implements [fmt.Formatter]. A client in use cannot be printed field by
// field.
func (c *MCPOAuthClient) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "MCPOAuthClient(%s)", withoutQuery(c.cfg.ServerURL))
}

// Provider returns the provider that holds the client's tokens.
func (c *MCPOAuthClient) Provider() *OAuthProvider { return c.provider }

// ServerURL returns Config.ServerURL.
func (c *MCPOAuthClient) ServerURL() string { return c.cfg.ServerURL }

// CallbackURL returns Config.CallbackURL.
func (c *MCPOAuthClient) CallbackURL() string { return c.cfg.CallbackURL }

// Credentials returns the present credentials.
func (c *MCPOAuthClient) Credentials(ctx context.Context) (Credentials, error) {
	return c.cfg.Credentials.Load(ctx)
}

// Connect connects to the MCP server, once for all concurrent callers. When
// connected, it only makes sure that there still are credentials to use. When
// it returns [*AuthorizationRequiredError], that holds a new authorization URL.
func (c *MCPOAuthClient) Connect(ctx context.Context) error {
	_, err := c.connected(ctx, true)
	return err
}

// FinishAuth completes an authorization with what the authorization server
// sent the browser back with; see [OAuthProvider.FinishAuth] for its errors.
// It does not connect. After Disconnect it returns [ErrNotConnected].
func (c *MCPOAuthClient) FinishAuth(ctx context.Context, resp AuthorizationResponse) error {
	c.mu.Lock()
	disconnected := c.disconnected
	c.mu.Unlock()
	if disconnected {
		return ErrNotConnected
	}
	return c.provider.FinishAuth(ctx, resp)
}

// Session returns the SDK's session, for prompts, resources and everything
// else that has no method here, or nil when not connected. Its errors are the
// SDK's, with those of this package in their chain; a session that the server
// ended is replaced only by the methods of this client.
func (c *MCPOAuthClient) Session() *mcp.ClientSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// connected returns the live session, connecting if there is none. With anew
// it also looks at the credentials, and an authorization begins anew.
func (c *MCPOAuthClient) connected(ctx context.Context, anew bool) (*mcp.ClientSession, error) {
	c.mu.Lock()
	session, disconnected, epoch := c.session, c.disconnected, c.epoch
	c.mu.Unlock()
	if disconnected {
		return nil, ErrNotConnected
	}
	if session != nil && !anew {
		return session, nil
	}
	result := c.flight.DoChan("connect", func() (any, error) {
		// One connect serves all callers, so it must not end with the first.
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), c.cfg.ConnectTimeout, errCallTimeout)
		defer cancel()
		if !c.beginConnect(epoch, cancel) {
			return nil, ErrNotConnected
		}
		if anew {
			c.provider.forgetAttempt()
		}
		return c.connect(ctx, epoch, anew)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*mcp.ClientSession), nil
	case <-ctx.Done():
		return nil, callError(ctx, "connecting to the MCP server", ctx.Err())
	}
}

// beginConnect lets Close cancel a connect. It reports false when a Close or
// Disconnect came before.
func (c *MCPOAuthClient) beginConnect(epoch int, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	return c.epoch == epoch
}

func (c *MCPOAuthClient) connect(ctx context.Context, epoch int, anew bool) (*mcp.ClientSession, error) {
	if session := c.Session(); session != nil {
		if anew {
			if _, err := c.provider.fresh(ctx); err != nil {
				return nil, err
			}
		}
		return session, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := &exchange{abort: cancel}
	session, err := c.cfg.MCPClient.Connect(withExchange(ctx, x), &mcp.StreamableClientTransport{
		Endpoint:             c.cfg.ServerURL,
		HTTPClient:           c.http,
		DisableStandaloneSSE: !c.cfg.StandaloneSSE,
	}, nil)
	c.mu.Lock()
	void := c.epoch != epoch
	if err == nil && !void {
		c.session = session
		clear(c.pages)
	}
	c.mu.Unlock()
	switch {
	case void && err == nil:
		_ = session.Close()
		return nil, ErrNotConnected
	case void:
		return nil, ErrNotConnected
	case err != nil:
		return nil, x.callError(ctx, "connecting to the MCP server", err)
	}
	return session, nil
}

// errCallTimeout marks the end of the time this package gives an operation, as
// opposed to the caller's.
var errCallTimeout = errors.New("oauthclient: timed out")

// do runs one operation on the live session. It runs it once more, on a new
// session, when the server certainly did not execute it: it had ended the
// session (404), or the session was found dead before anything was sent.
func (c *MCPOAuthClient) do(ctx context.Context, op string, x *exchange, fn func(context.Context, *mcp.ClientSession) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.CallTimeout, errCallTimeout)
	defer cancel()
	x.abort = cancel
	for attempt := 0; ; attempt++ {
		session, err := c.connected(ctx, false)
		if err != nil {
			return err
		}
		err = fn(withExchange(ctx, x), session)
		if err == nil {
			return nil
		}
		lost := errors.Is(err, errSessionLost)
		dead := errors.Is(err, mcp.ErrConnectionClosed)
		if lost || dead {
			c.discard(session)
		}
		if attempt == 0 && (lost || dead && !x.wasSent()) {
			continue
		}
		return x.callError(ctx, op, err)
	}
}

// discard forgets a session that no longer works. Closing it may send a
// DELETE, which nobody needs to wait for; the SDK bounds it to 5 seconds.
func (c *MCPOAuthClient) discard(session *mcp.ClientSession) {
	c.mu.Lock()
	if c.session == session {
		c.session = nil
		clear(c.pages)
	}
	c.mu.Unlock()
	c.closing.Go(func() { _ = session.Close() })
}

// Disconnect ends the connection for good: it drops the credentials, ends the
// MCP session (DELETE), and revokes the tokens (RFC 7009). The credentials are
// dropped first and whatever happens; ending and revoking are best effort in
// bounded time, their failures logged. The error is that of the
// CredentialStore. A later call of another method returns [ErrNotConnected].
func (c *MCPOAuthClient) Disconnect(ctx context.Context) error {
	c.mu.Lock()
	c.disconnected = true
	c.mu.Unlock()
	// The user has left; that must be done even if the request that said so
	// is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*c.cfg.RequestTimeout)
	defer cancel()
	var last Credentials
	err := c.cfg.Credentials.Update(ctx, func(creds *Credentials) error {
		last = *creds
		*creds = Credentials{}
		return nil
	})
	_ = c.Close()
	if err := c.provider.revoke(ctx, last); err != nil {
		c.cfg.Logger.WarnContext(ctx, "mcpoauth: revocation failed", "error", err)
	}
	return storageError(ctx, err)
}

// Close ends the MCP session and keeps the credentials: a later call connects
// again. Calls in progress should have ended; their sessions end with them. It
// may be called more than once, and always returns nil.
func (c *MCPOAuthClient) Close() error {
	c.mu.Lock()
	c.epoch++
	if c.cancel != nil {
		c.cancel()
	}
	c.mu.Unlock()
	_, _, _ = c.flight.Do("connect", func() (any, error) { return nil, ErrNotConnected }) // waits for a connect in progress
	c.mu.Lock()
	session := c.session
	c.session = nil
	c.mu.Unlock()
	if session != nil {
		_ = session.Close()
	}
	c.closing.Wait()
	return nil
}

// nextToken returns a progress token, unique within this client.
func (c *MCPOAuthClient) nextToken() string { return strconv.FormatInt(c.tokens.Add(1), 36) }
