package oauthclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// operation is one operation of a caller: its limits hold for all requests that
// it takes.
type operation struct {
	*wire.Op
	wire       *wire.Client
	connection Connection
	asking     Asking // the zero value: what the server asks is answered by the functions of Shared
}

// do runs one operation on the connection, which it makes if there is none. It
// runs it once more, on a new connection, when the server had lost the MCP
// session and certainly did not execute the request.
func (c *MCPOAuthClient) do(ctx context.Context, name string, op *wire.Op, fn func(context.Context, *operation) error) error {
	return c.doAsking(ctx, name, op, Asking{}, fn)
}

// doAsking is do for a caller that may be able to ask the user.
func (c *MCPOAuthClient) doAsking(ctx context.Context, name string, op *wire.Op, asking Asking, fn func(context.Context, *operation) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.CallTimeout, errCallTimeout)
	defer cancel()
	for again := true; ; again = false {
		connection, creds, err := c.connection(ctx)
		if err != nil {
			return outcomeOf(op, callError(ctx, name, err))
		}
		if again && c.lacksDeclaration(connection.conn(), asking) {
			c.cfg.Logger.InfoContext(ctx, "mcpoauth: the MCP server does not know that users can be asked, a new MCP session tells it")
			if err := c.drop(ctx, connection); err != nil {
				return err
			}
			continue
		}
		client := c.authorized(creds)
		err = fn(ctx, &operation{Op: op, wire: client, connection: connection, asking: asking})
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && client.Lost(ctx, connection.conn(), op, err) {
			c.cfg.Logger.InfoContext(ctx, "mcpoauth: the MCP server has lost the session, the next request begins another")
			if dropErr := c.drop(ctx, connection); dropErr != nil {
				return dropErr
			}
			if again && wire.NotExecuted(err) {
				continue
			}
		}
		return outcomeOf(op, c.answerError(ctx, name, err, client.HTTP.Transport.(*transport).sentValues()))
	}
}

// outcomeOf notes in a [*TemporaryError] that the server executed nothing of op. It
// changes a copy, because callers may share the error of a refresh.
func outcomeOf(op *wire.Op, err error) error {
	temporary, ok := err.(*TemporaryError)
	if !ok || op.Sent {
		return err
	}
	with := *temporary
	with.NotExecuted = true
	return &with
}

// request sends one request of an operation.
func (op *operation) request(ctx context.Context, r wire.Request) ([]byte, error) {
	return op.wire.Call(ctx, op.connection.conn(), op.Op, r)
}

// newOp returns the limits of an operation, with the functions that answer what
// the server asks.
func (c *MCPOAuthClient) newOp() *wire.Op { return c.newAskingOp(Asking{}) }

// newAskingOp is newOp for a caller that may be able to ask the user.
func (c *MCPOAuthClient) newAskingOp(asking Asking) *wire.Op {
	op := &wire.Op{MaxBytes: c.cfg.MaxResponseBytes}
	declares := c.cfg.AskUsers != ElicitationModes{}
	if c.cfg.Elicit != nil || c.cfg.CreateMessage != nil || c.cfg.ListRoots != nil {
		op.OnRequest, op.Asks = c.cfg.answer, true
	}
	if declares {
		op.OnRequest, op.Asks = c.answerFor(asking), op.Asks || asking.Answer != nil
	}
	return op
}

// answerError is callError for an error that also has what the server said. sent are
// the values of the connection's headers.
func (c *MCPOAuthClient) answerError(ctx context.Context, name string, err error, sent []string) error {
	said, ok := errors.AsType[*wire.StatusError](err)
	err = c.withoutSecrets(ctx, callError(ctx, name, err), sent)
	if !ok || said.Text == "" {
		return err
	}
	text := c.withoutSecrets(ctx, &jsonrpc.Error{Message: said.Text}, sent).(*jsonrpc.Error).Message
	switch e := err.(type) {
	case *TemporaryError:
		with := *e
		with.Err = cmp.Or(with.Err, errors.New(text))
		return &with
	case *ServerError:
		with := *e
		with.Reason = cmp.Or(with.Reason, text)
		return &with
	}
	return err
}

// withoutSecrets takes the access token and the values of headers out of what the
// server says of a failure.
func (c *MCPOAuthClient) withoutSecrets(ctx context.Context, err error, sent []string) error {
	rpc, ok := errors.AsType[*jsonrpc.Error](err)
	if !ok {
		return err
	}
	secrets := secretParts(sent)
	if creds, loadErr := c.provider.load(context.WithoutCancel(ctx)); loadErr == nil && !creds.AccessToken.IsZero() {
		secrets = append(secrets, creds.AccessToken.Reveal())
	}
	if len(secrets) == 0 {
		return err
	}
	return redactRPC(rpc, secrets)
}

// callError turns an error of the wire into one of this package, the server's
// *jsonrpc.Error, or the context's error if the caller gave up.
func callError(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errCallTimeout) {
		return fmt.Errorf("oauthclient: %s: %w", name, ctx.Err())
	}
	if own := ownError(err); own != nil {
		return own
	}
	if status, ok := errors.AsType[*wire.StatusError](err); ok {
		if status.Status >= 500 || status.Status == http.StatusTooManyRequests || status.Status == http.StatusRequestTimeout {
			return &TemporaryError{Op: name, StatusCode: status.Status, RetryAfter: min(status.RetryAfter, maxRetryAfter)}
		}
		return &ServerError{StatusCode: status.Status}
	}
	switch {
	case errors.Is(err, ErrForbiddenAddress):
		return fmt.Errorf("oauthclient: %s: %w", name, ErrForbiddenAddress)
	case errors.Is(err, ErrNotConnected):
		return ErrNotConnected
	case errors.Is(err, ErrNoToken):
		return ErrNoToken
	case errors.Is(err, context.DeadlineExceeded):
		return &TemporaryError{Op: name, Timeout: true}
	case errors.Is(err, wire.ErrTooLarge):
		return &ResponseLimitError{Limit: "MaxResponseBytes"}
	case errors.Is(err, wire.ErrTooDeep):
		return &ResponseLimitError{Limit: "nesting"}
	case errors.Is(err, wire.ErrRedirect):
		return errRedirect
	case errors.Is(err, wire.ErrOldTransport):
		return ErrOldTransport
	case errors.Is(err, wire.ErrBroken):
		return &TemporaryError{Op: name, Err: errors.New("the connection broke; whether the server acted is unknown")}
	}
	return &ServerError{Reason: errorText(err)}
}

// errorText returns the text of an error without a URL, whose query may be
// secret.
func errorText(err error) string {
	return strings.TrimPrefix(networkErrorCause(err).Error(), "wire: ")
}

// ownError finds the error of this package, or the server's JSON-RPC error, in
// a chain.
func ownError(err error) error {
	for _, find := range []func(error) error{
		as[*AuthorizationRequiredError], as[*TemporaryError], as[*StorageError], as[*InsufficientScopeError], as[*TokenRejectedError], as[*AssertionError],
		as[*AuthorizationError], as[*RegistrationRequiredError], as[*DiscoveryError], as[*ServerError],
		as[*CredentialsRejectedError], as[*HeadersError], as[*ResponseLimitError], as[*InputRequiredError], as[*jsonrpc.Error],
	} {
		if own := find(err); own != nil {
			return own
		}
	}
	return nil
}

// as finds an error of type E in a chain; nil if there is none.
func as[E error](err error) error {
	if own, ok := errors.AsType[E](err); ok {
		return own
	}
	return nil
}
