package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The protocol revisions, newest first. The oldest knows no streamable HTTP,
// but servers of that transport name it.
const (
	version20260728 = "2026-07-28"
	version20251125 = "2025-11-25"
	version20250618 = "2025-06-18"
	version20250326 = "2025-03-26"
	version20241105 = "2024-11-05"
)

// modern reports whether a revision has no sessions, and wants the version and
// the client's identity in each request (2026-07-28 and later).
func modern(version string) bool { return version >= version20260728 }

// randomID returns a request ID or progress token. Several replicas use one
// MCP session, and some servers have 32-bit IDs.
func randomID() int64 { return rand.Int64N(1<<31-1) + 1 }

// header makes the header of an HTTP request about r. A request without a
// method is no JSON-RPC request.
func (conn *Conn) header(r Request, accept string) http.Header {
	params := conn.paramHeaders(r)
	values := make([]string, 0, 6+len(params))
	h := make(http.Header, 8+len(params))
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if accept != "" {
		set("Accept", accept)
	}
	if conn.Version != "" {
		set("Mcp-Protocol-Version", conn.Version)
	}
	if conn.SessionID != "" {
		set("Mcp-Session-Id", conn.SessionID)
	}
	if r.Method != "" {
		set("Content-Type", "application/json")
	}
	if modern(conn.Version) && r.Method != "" {
		set("Mcp-Method", r.Method)
		if r.Name != "" {
			set("Mcp-Name", encodeHeader(r.Name))
		}
	}
	for name, value := range params {
		set(name, value)
	}
	return h
}

const (
	acceptAnswer = "application/json, text/event-stream"
	acceptStream = "text/event-stream"
)

// payload is the body of a request, a netguard.InMemory. It notes that it was read
// or sent.
type payload struct {
	text   []byte
	reader bytes.Reader
	read   *atomic.Bool
}

func (p *payload) Read(b []byte) (int, error) {
	p.read.Store(true)
	return p.reader.Read(b)
}

func (p *payload) Close() error { return nil }
func (p *payload) Text() []byte { return p.text }
func (p *payload) Sent()        { p.read.Store(true) }

// send sends one HTTP request. Its error is that of [Client.HTTP], marked as
// unsent if the body was neither read nor sent, or ErrRedirect.
func (c *Client) send(ctx context.Context, method string, header http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL, nil)
	if err != nil {
		return nil, &unsentError{cause: err}
	}
	req.Header = header
	var read atomic.Bool
	if body != nil {
		open := func() (io.ReadCloser, error) {
			p := &payload{text: body, read: &read}
			p.reader.Reset(body)
			return p, nil
		}
		req.Body, _ = open()
		req.GetBody = open
		req.ContentLength = int64(len(body))
	}
	resp, err := c.follow(req)
	if err != nil {
		if !read.Load() {
			err = &unsentError{cause: err}
		}
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		_ = resp.Body.Close()
		return nil, ErrRedirect
	}
	return resp, nil
}

// follow sends a request with the transport of [Client.HTTP], whose own Do costs
// a copy of the header, and follows the redirects that keep a request as it is
// (307 and 308) as far as CheckRedirect allows.
func (c *Client) follow(req *http.Request) (*http.Response, error) {
	transport := c.HTTP.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	for via := []*http.Request(nil); ; {
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect || c.HTTP.CheckRedirect == nil {
			return resp, nil
		}
		location, err := req.URL.Parse(resp.Header.Get("Location"))
		if err != nil {
			return resp, nil
		}
		via = append(via, req)
		next := req.Clone(req.Context())
		next.URL, next.Host = location, location.Host
		err = c.HTTP.CheckRedirect(next, via)
		if errors.Is(err, http.ErrUseLastResponse) {
			return resp, nil
		}
		drain(resp)
		if err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			next.Body, _ = req.GetBody() // of a payload, which cannot fail
		}
		req = next
	}
}

// request makes the body of a JSON-RPC request. The text of r.Params is kept as
// it is, but for the members of _meta that the protocol wants.
func (c *Client) request(conn *Conn, r Request, id, token int64) ([]byte, error) {
	b := make([]byte, 0, 384+len(r.Params)+len(c.Capabilities))
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, `,"method":`...)
	b = appendString(b, r.Method)
	params := bytes.TrimSpace(r.Params)
	if params == nil && token == 0 && !modern(conn.Version) {
		return append(b, '}'), nil
	}
	b = append(b, `,"params":`...)
	if params == nil {
		params = []byte("{}")
	}
	if params[0] != '{' {
		return nil, &unsentError{cause: errors.New("wire: the parameters are no JSON object")}
	}
	if token == 0 && !modern(conn.Version) {
		return append(append(b, params...), '}'), nil
	}
	rest, given, err := withoutMeta(params)
	if err != nil {
		return nil, err
	}
	b = append(b, `{"_meta":{`...)
	b = c.appendMeta(b, conn, token)
	if given != nil {
		b = appendRest(b, given, conn, token)
	}
	b = append(b, '}')
	if len(rest) > 0 && rest[0] != '}' {
		b = append(b, ',')
	}
	return append(append(b, rest...), '}'), nil
}

// withoutMeta returns the text of an object behind its opening brace, without a
// member _meta, and the value of that member.
func withoutMeta(params []byte) (rest, meta []byte, err error) {
	if !bytes.Contains(params, []byte(`_meta"`)) {
		return params[skipSpace(params, 1):], nil, nil
	}
	valid := parts(params, '{', func(name, value []byte) {
		if string(Unquote(name)) == "_meta" {
			meta = value
			return
		}
		if len(rest) > 0 {
			rest = append(rest, ',')
		}
		rest = append(append(append(rest, name...), ':'), value...)
	})
	if valid < 0 {
		return nil, nil, &unsentError{cause: errors.New("wire: the parameters are no valid JSON object")}
	}
	return append(rest, '}'), meta, nil
}

// The names of the protocol's members of _meta, quoted.
const (
	metaVersion      = `"` + mcp.MetaKeyProtocolVersion + `"`
	metaInfo         = `"` + mcp.MetaKeyClientInfo + `"`
	metaCapabilities = `"` + mcp.MetaKeyClientCapabilities + `"`
	metaProgress     = `"progressToken"`
)

// appendMeta appends the members of _meta that the protocol wants.
func (c *Client) appendMeta(b []byte, conn *Conn, token int64) []byte {
	if modern(conn.Version) {
		b = append(b, metaVersion+`:`...)
		b = appendString(b, conn.Version)
		b = append(b, `,`+metaInfo+`:`...)
		b = c.appendInfo(b)
		b = append(b, `,`+metaCapabilities+`:`...)
		b = append(b, c.capabilities()...)
	}
	if token != 0 {
		if modern(conn.Version) {
			b = append(b, ',')
		}
		b = append(b, metaProgress+`:`...)
		b = strconv.AppendInt(b, token, 10)
	}
	return b
}

// appendRest appends the members of the caller's own _meta that appendMeta has
// not set.
func appendRest(b, meta []byte, conn *Conn, token int64) []byte {
	parts(meta, '{', func(name, value []byte) {
		switch string(name) {
		case metaVersion, metaInfo, metaCapabilities:
			if modern(conn.Version) {
				return
			}
		case metaProgress:
			if token != 0 {
				return
			}
		}
		b = append(append(append(append(b, ','), name...), ':'), value...)
	})
	return b
}

func (c *Client) capabilities() json.RawMessage {
	if c.Capabilities == nil {
		return json.RawMessage("{}")
	}
	return c.Capabilities
}

// appendInfo appends the client's name and version as JSON.
func (c *Client) appendInfo(b []byte) []byte {
	if c.Info == nil {
		return append(b, `{"name":"","version":""}`...)
	}
	b = append(b, `{"name":`...)
	b = appendString(b, c.Info.Name)
	b = append(b, `,"version":`...)
	b = appendString(b, c.Info.Version)
	for _, m := range [...]struct{ name, value string }{
		{`,"title":`, c.Info.Title}, {`,"description":`, c.Info.Description}, {`,"websiteUrl":`, c.Info.WebsiteURL},
	} {
		if m.value != "" {
			b = appendString(append(b, m.name...), m.value)
		}
	}
	if len(c.Info.Icons) > 0 {
		if icons, err := json.Marshal(c.Info.Icons); err == nil {
			b = append(append(b, `,"icons":`...), icons...)
		}
	}
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
