package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// Observe is called when a request begins, with the protocol revision if that is
// known. The request is sent in the returned context, with the members of meta in
// its _meta beside the ones that the caller has set. end is called once, with the
// result or the error.
type Observe func(ctx context.Context, r Request, version string) (_ context.Context, meta map[string]string, end func(result json.RawMessage, err error))

var errPanicked = errors.New("wire: a function of the host panicked")

// observed is exchange for a client that is observed.
func (c *Client) observed(ctx context.Context, conn *Conn, op *Op, r Request) (result json.RawMessage, header http.Header, err error) {
	ctx, meta, end := c.Observe(ctx, r, conn.Version)
	defer func() { end(result, err) }()
	params, err := addMeta(r.Params, meta)
	if err != nil {
		return nil, nil, err
	}
	r.Params = params
	plain := *c
	plain.Observe = nil
	err = errPanicked // until exchange returns
	return plain.exchange(ctx, conn, op, r)
}

// addMeta adds members to the _meta of params, a JSON object or nil, that it does
// not have.
func addMeta(params json.RawMessage, meta map[string]string) (json.RawMessage, error) {
	if len(meta) == 0 {
		return params, nil
	}
	params = bytes.TrimSpace(params)
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	if params[0] != '{' {
		return nil, &unsentError{cause: errors.New("wire: the parameters are no JSON object")}
	}
	rest, given, err := withoutMeta(params)
	if err != nil {
		return nil, err
	}
	members := make(map[string]json.RawMessage)
	if given != nil && json.Unmarshal(given, &members) != nil {
		return params, nil // the caller's own, for the server to refuse
	}
	for name, value := range meta {
		if _, set := members[name]; !set {
			members[name] = appendString(nil, value)
		}
	}
	encoded, err := json.Marshal(members)
	if err != nil {
		return nil, &unsentError{cause: err}
	}
	out := append([]byte(`{"_meta":`), encoded...)
	if rest = bytes.TrimSpace(rest); len(rest) > 0 && rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...), nil
}
