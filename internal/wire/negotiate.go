package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// older are the revisions that are offered with initialize, newest first.
var older = []string{version20251125, version20250618, version20250326}

// Negotiate agrees with the server on a revision: the newest by server/discover,
// or else the newest older one that the server takes by initialize. With
// legacy, initialize comes first: the caller remembers that the server does not
// know server/discover.
func (c *Client) Negotiate(ctx context.Context, op *Op, legacy bool) (*Conn, error) {
	if !legacy {
		conn, versions, err := c.discover(ctx, op)
		if conn != nil || err != nil {
			return conn, err
		}
		return c.initialize(ctx, op, versions)
	}
	conn, err := c.initialize(ctx, op, older)
	if status, code := failure(err); code != 0 || status == http.StatusBadRequest || status == http.StatusNotFound {
		// The server may have been replaced by a newer one.
		if found, _, _ := c.discover(ctx, op); found != nil {
			return found, nil
		}
	}
	return conn, err
}

// discover returns a connection of the newest revision, an error, or the
// revisions to offer with initialize.
func (c *Client) discover(ctx context.Context, op *Op) (*Conn, []string, error) {
	conn := &Conn{Version: version20260728}
	ask := func() ([]byte, error) {
		result, _, err := c.exchange(ctx, conn, op, Request{Method: "server/discover", patience: c.DiscoverTimeout})
		return result, err
	}
	result, err := ask()
	if named, ok := supportedVersions(err); ok && slices.Contains(named, version20260728) {
		result, err = ask() // the server refuses the revision that it names
	}
	var supported []string
	switch status, code := failure(err); {
	case err == nil:
		if supported = conn.discovered(result); supported == nil {
			return nil, older, nil // a server that answers every method
		}
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case code == codeUnsupportedVersion:
		supported, _ = supportedVersions(err)
		supported = slices.DeleteFunc(supported, modern)
	case isModernCode(code), aboutCaller(status) && status != http.StatusRequestTimeout:
		return nil, nil, err
	case code != 0, status >= 400 && status < 500, errors.Is(err, errSilent), errors.Is(err, ErrMalformed), errors.Is(err, errEnded):
		c.Log.DebugContext(ctx, "the MCP server does not know server/discover", "error", err)
		return nil, older, nil
	default:
		return nil, nil, err
	}
	if slices.Contains(supported, version20260728) {
		return conn, nil, nil
	}
	common := slices.DeleteFunc(slices.Clone(older), func(v string) bool { return !slices.Contains(supported, v) })
	switch {
	case len(common) > 0:
		return nil, common, nil
	case slices.Contains(supported, version20241105):
		return nil, older, nil // it may know more than it says
	}
	return nil, nil, noVersion(err)
}

// discovered takes the result of server/discover, and returns the revisions
// that it names.
func (conn *Conn) discovered(result []byte) (supported []string) {
	Members(result, func(name, value []byte) {
		switch string(name) {
		case "supportedVersions":
			supported = texts(value)
		case "_meta":
			Members(value, func(name, value []byte) {
				if string(name) == "io.modelcontextprotocol/serverInfo" {
					conn.ServerInfo = bytes.Clone(value)
				}
			})
		}
	})
	conn.describe(result)
	return supported
}

// describe takes what the results of server/discover and initialize have in
// common, whatever its types: none of it is needed for calls.
func (conn *Conn) describe(result []byte) {
	Members(result, func(name, value []byte) {
		switch string(name) {
		case "capabilities":
			conn.Capabilities = bytes.Clone(value)
		case "serverInfo":
			conn.ServerInfo = bytes.Clone(value)
		case "instructions":
			conn.Instructions = string(Unquote(value))
		}
	})
}

// initialize offers a server one revision after the other.
func (c *Client) initialize(ctx context.Context, op *Op, versions []string) (*Conn, error) {
	tried := make(map[string]bool)
	for version := versions[0]; ; {
		tried[version] = true
		conn, err := c.offer(ctx, op, version)
		if err == nil {
			return conn, nil
		}
		switch status, _ := failure(err); status {
		case http.StatusNotFound, http.StatusMethodNotAllowed:
			if c.oldTransport(ctx, op) {
				err = ErrOldTransport
			}
			return nil, err
		}
		next := nextOffer(err, versions, tried)
		if next == "" {
			if supported, _ := supportedVersions(err); supported != nil {
				err = noVersion(err)
			}
			return nil, err
		}
		c.Log.DebugContext(ctx, "the MCP server refuses a protocol revision", "refused", version, "next", next, "error", err)
		version = next
	}
}

// nextOffer returns the revision to offer after err, "" for none: the newest
// that the server names, or the next older one. A server that lists its
// revisions gets no other.
func nextOffer(err error, versions []string, tried map[string]bool) string {
	if !refusesVersion(err) {
		return ""
	}
	untried := func(list []string) string {
		best := ""
		for _, v := range list {
			if known(v) && !tried[v] {
				best = max(best, v)
			}
		}
		return best
	}
	named, complete := supportedVersions(err)
	if best := untried(named); best != "" || complete {
		return best
	}
	return untried(versions)
}

// known reports whether a revision begins with initialize and is understood.
func known(version string) bool {
	return version == version20241105 || slices.Contains(older, version)
}

// noVersion adds ErrNoVersion to an error of the server, if there is one.
func noVersion(err error) error {
	if err == nil {
		return ErrNoVersion
	}
	return fmt.Errorf("%w: %w", ErrNoVersion, err)
}

// offer sends initialize with one revision.
func (c *Client) offer(ctx context.Context, op *Op, version string) (*Conn, error) {
	params := appendString([]byte(`{"protocolVersion":`), version)
	declared := c.Handshake
	if declared == nil {
		declared = c.capabilities()
	}
	params = append(append(params, `,"capabilities":`...), declared...)
	params = append(c.appendInfo(append(params, `,"clientInfo":`...)), '}')
	result, header, err := c.exchange(ctx, &Conn{}, op, Request{Method: "initialize", Params: params})
	if err != nil {
		return nil, err
	}
	conn := &Conn{Version: version, SessionID: header.Get("Mcp-Session-Id")}
	if string(declared) != "{}" {
		conn.Declared = declared
	}
	conn.describe(result)
	if !Members(result, func(name, value []byte) {
		if string(name) == "protocolVersion" {
			conn.Version = string(Unquote(value))
		}
	}) {
		return nil, &MalformedError{Reason: "the result of initialize is not an object"}
	}
	if !known(conn.Version) {
		c.abandon(ctx, conn)
		return nil, ErrNoVersion
	}
	err = c.notify(ctx, conn, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err != nil && (ctx.Err() != nil || !networkError(err)) {
		c.abandon(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// networkError reports whether an error of [Client.HTTP] is about the network,
// and not a decision of the client's own.
func networkError(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrRedirect)
}

// abandon ends an MCP session that will not be used.
func (c *Client) abandon(ctx context.Context, conn *Conn) {
	// The context may have ended, and the server keeps the session otherwise.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	if err := c.End(ctx, conn); err != nil {
		c.Log.DebugContext(ctx, "ending an unused MCP session failed", "error", err)
	}
}

// isModernCode reports whether only servers of 2026-07-28 and later send an
// error code.
func isModernCode(code int64) bool {
	return code == codeHeaderMismatch || code == codeMissingCapability || code == codeUnsupportedVersion
}

// refusesVersion reports whether an answer to initialize may be about the
// revision.
func refusesVersion(err error) bool {
	status, code := failure(err)
	named, _ := supportedVersions(err)
	switch {
	case aboutCaller(status):
		return false
	case named != nil:
		return true
	case isModernCode(code):
		return false
	case status >= 400 && status < 500:
		return true
	}
	rpc, ok := errors.AsType[*RPCError](err)
	return ok && strings.Contains(strings.ToLower(rpc.Err.Message), "version")
}

// date is what revisions look like in a text.
var date = regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`)

// supportedVersions returns the revisions that an error of the server names.
// They are complete if they are a list, and not words of a text.
func supportedVersions(err error) (named []string, complete bool) {
	if refusal, ok := errors.AsType[*StatusError](err); ok {
		return date.FindAllString(refusal.Text, -1), false
	}
	rpc, ok := errors.AsType[*RPCError](err)
	if !ok {
		return nil, false
	}
	Members(rpc.Err.Data, func(name, value []byte) {
		if strings.HasPrefix(string(name), "supported") {
			named = texts(value)
		}
	})
	if named != nil {
		return named, true
	}
	return date.FindAllString(rpc.Err.Message, -1), false
}

// texts returns the strings of a JSON array, nil if text is none.
func texts(text json.RawMessage) []string {
	list := []string{}
	if !Elements(text, func(value []byte) { list = append(list, string(Unquote(value))) }) {
		return nil
	}
	return list
}

// oldTransport reports whether a GET opens the stream of the HTTP+SSE transport
// of 2024-11-05, whose first event is "endpoint".
func (c *Client) oldTransport(ctx context.Context, op *Op) bool {
	ctx, stop := context.WithTimeout(ctx, c.DiscoverTimeout)
	defer stop()
	resp, err := c.send(ctx, http.MethodGet, (&Conn{}).header(Request{}, acceptStream), nil)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 || mediaType(resp.Header) != "text/event-stream" {
		return false
	}
	e := newEvents(resp.Body, op)
	defer e.release()
	first, err := e.next()
	return err == nil && first.kind == "endpoint"
}
