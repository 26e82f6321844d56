package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// MCPOAuthClient is one user's connection to one MCP server. It connects when
// first used, and again when the server ended the MCP session. What it knows is
// in [Credentials], so a client that is made again from them, in another process
// too, goes on where this one was: there is nothing to close. When the user must
// authorize, methods return [*AuthorizationRequiredError]; after FinishAuth the
// same client works.
//
// A request is repeated only if the server certainly did not execute it: it
// answered 401, had lost the MCP session, or wanted other headers for a tool. A
// call whose connection broke is never repeated.
//
// An MCPOAuthClient is safe for concurrent use. The zero value is not usable.
type MCPOAuthClient struct {
	*core
	provider *OAuthProvider
	read     atomic.Pointer[Credentials] // see Reading; nil otherwise
}

// core is what a client shares with those made by [MCPOAuthClient.Bound].
type core struct {
	cfg     *config
	cookies cookieJar

	mu           sync.Mutex
	local        Connection  // a connection that is not in the store, or not in full
	replaces     *Connection // the stored connection that local replaces, while the store takes no writes; else nil
	disconnected bool
}

// New validates cfg and returns a client. It does no I/O. The error, if any,
// names every mistake in cfg.
func New(cfg Config) (*MCPOAuthClient, error) {
	completed, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return &MCPOAuthClient{core: &core{cfg: completed}, provider: newOAuthProvider(completed)}, nil
}

// authorized returns the protocol with this client's authorization. Its first
// request begins with the credentials in read, which may be nil.
func (c *MCPOAuthClient) authorized(read *Credentials) *wire.Client {
	t := &transport{core: c.core, provider: c.provider}
	t.read.Store(read)
	return c.protocol(t)
}

// protocol returns the protocol on a transport.
func (c *core) protocol(rt http.RoundTripper) *wire.Client {
	return &wire.Client{
		URL: c.cfg.ServerURL, HTTP: &http.Client{Transport: rt, CheckRedirect: c.cfg.mcpRedirects},
		Info: &c.cfg.ClientInfo, Capabilities: c.cfg.capabilities, Handshake: c.cfg.handshake,
		DiscoverTimeout: c.cfg.DiscoverTimeout, MaxBytes: c.cfg.MaxResponseBytes, Log: c.cfg.Logger,
		Observe: c.cfg.observeMCP(),
	}
}

// Bound returns a client for the same connection whose authorization attempts
// carry binding in [Attempt.Binding]: a host's name for the browser that an
// attempt is begun for. Attempts are shared by callers with the same binding
// only.
func (c *MCPOAuthClient) Bound(binding string) *MCPOAuthClient {
	if binding == c.provider.binding {
		return c
	}
	return &MCPOAuthClient{core: c.core, provider: &OAuthProvider{providerCore: c.provider.providerCore, binding: binding}}
}

// Reading returns a client for the same connection whose first operation begins
// with creds, which the caller has just read from the store itself: that spares
// the operation a Load. It must not be used for more than this operation. creds
// must not be changed any more.
func (c *MCPOAuthClient) Reading(creds *Credentials) *MCPOAuthClient {
	reading := &MCPOAuthClient{core: c.core, provider: c.provider}
	reading.read.Store(creds)
	return reading
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

// Credentials returns the present credentials, with the connection data: what
// another client needs to go on in this one's place.
func (c *MCPOAuthClient) Credentials(ctx context.Context) (Credentials, error) {
	creds, err := c.cfg.Credentials.Load(ctx)
	if err != nil {
		return Credentials{}, err
	}
	creds.Connection = c.full(creds.Connection)
	return creds, nil
}

// Connect makes sure that there are credentials to use and that the MCP server
// has answered, once for all concurrent callers. When it returns
// [*AuthorizationRequiredError], that holds a new authorization URL.
func (c *MCPOAuthClient) Connect(ctx context.Context) error {
	c.provider.forgetAttempt()
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ConnectTimeout, errCallTimeout)
	defer cancel()
	creds, err := c.provider.fresh(ctx, nil)
	if err == nil && c.full(creds.Connection).IsZero() {
		_, _, err = c.connection(ctx)
	}
	return callError(ctx, "connecting to the MCP server", err)
}

// Reconnect is Connect for a connection that may exist already: the client
// forgets what it agreed on with the server, and agrees again. The MCP session of
// older revisions is not ended, because calls in progress use it.
func (c *MCPOAuthClient) Reconnect(ctx context.Context) error {
	creds, err := c.provider.load(ctx)
	if err != nil {
		return err
	}
	if connection := c.full(creds.Connection); !connection.IsZero() {
		if err := c.drop(ctx, connection); err != nil {
			return err
		}
		c.read.Store(nil)
	}
	return c.Connect(ctx)
}

// FinishAuth completes an authorization with what the authorization server
// sent the browser back with; see [OAuthProvider.FinishAuth] for its errors.
// It does not connect. After Disconnect it returns [ErrNotConnected].
func (c *MCPOAuthClient) FinishAuth(ctx context.Context, resp AuthorizationResponse) error {
	if c.isDisconnected() {
		return ErrNotConnected
	}
	return c.provider.FinishAuth(ctx, resp)
}

// ServerInfo returns what the server said of itself when the connection was
// made, connecting if there is none: revision, capabilities, name and
// instructions. Members that the SDK's types cannot hold are left out.
func (c *MCPOAuthClient) ServerInfo(ctx context.Context) (*mcp.InitializeResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ConnectTimeout, errCallTimeout)
	defer cancel()
	connection, _, err := c.connection(ctx)
	if err != nil {
		return nil, callError(ctx, "connecting to the MCP server", err)
	}
	conn := connection.conn()
	return &mcp.InitializeResult{
		ProtocolVersion: conn.Version, Instructions: conn.Instructions,
		Capabilities: decode[mcp.ServerCapabilities](conn.Capabilities), ServerInfo: decode[mcp.Implementation](conn.ServerInfo),
	}, nil
}

// Transport returns a transport for the SDK's own client, for hosts that want
// its whole API. It authorizes, refreshes and asks for more scopes like the
// methods of this client, whose errors are in the chain of the SDK's. It has an
// MCP session of its own, which it does not share with other processes.
func (c *MCPOAuthClient) Transport() mcp.Transport {
	return &mcp.StreamableClientTransport{Endpoint: c.cfg.ServerURL, HTTPClient: c.authorized(nil).HTTP}
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
	c.provider.disconnect()
	// The user has left; that must be done even if the request that said so
	// is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*c.cfg.RequestTimeout)
	defer cancel()
	var last Credentials
	err := c.cfg.Credentials.Update(ctx, func(creds *Credentials) error {
		last = *creds
		*creds = Credentials{Connection: newConnection(nil, nil)}
		return nil
	})
	c.Revoke(ctx, last)
	return storageError(ctx, err)
}

// Revoke ends at the servers what credentials stand for: it ends the MCP
// session (DELETE) and revokes the tokens, best effort in bounded time; failures
// are logged. It is for credentials that are no longer stored, and does not
// touch the store.
func (c *MCPOAuthClient) Revoke(ctx context.Context, creds Credentials) {
	_ = c.end(ctx, creds) // end has logged it
	if err := c.provider.revoke(ctx, creds); err != nil {
		c.cfg.Logger.WarnContext(ctx, "mcpoauth: revocation failed", "error", err)
	}
}

// endTimeout bounds the request that ends an MCP session.
const endTimeout = 5 * time.Second

// end ends the MCP session of credentials. It logs a failure.
func (c *MCPOAuthClient) end(ctx context.Context, creds Credentials) error {
	creds.Connection = c.full(creds.Connection)
	conn := creds.Connection.conn()
	if conn == nil || conn.SessionID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := c.protocol(&endTransport{transport{core: c.core, provider: c.provider}, creds}).End(ctx, conn)
	if err != nil {
		c.cfg.Logger.DebugContext(ctx, "mcpoauth: the MCP session was not ended", "error", errorText(err))
	}
	return err
}

func (c *core) isDisconnected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.disconnected
}

// errCallTimeout marks the end of the time this package gives an operation, as
// opposed to the caller's.
var errCallTimeout = errors.New("oauthclient: timed out")

// capabilitiesJSON is what the client declares: what it has a function for, what
// front ends show, and the modes in which users can be asked.
func capabilitiesJSON(s *Shared, modes ElicitationModes) json.RawMessage {
	declared := map[string]any{}
	switch {
	case modes != ElicitationModes{}:
		modes.Form = modes.Form || s.Elicit != nil
		declared["elicitation"] = modes.declared()
	case s.Elicit != nil:
		declared["elicitation"] = struct{}{}
	}
	if s.CreateMessage != nil {
		declared["sampling"] = struct{}{}
	}
	if s.ListRoots != nil {
		declared["roots"] = struct{}{}
	}
	if s.ShowsUI {
		declared["extensions"] = map[string]any{"io.modelcontextprotocol/ui": map[string]any{"mimeTypes": []string{"text/html;profile=mcp-app"}}}
	}
	data, _ := json.Marshal(declared) // plain strings: cannot fail
	return data
}
