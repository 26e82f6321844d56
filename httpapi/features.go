package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// ListPrompts serves GET prompt/list?sessionId=: it answers [ListPromptsSuccess].
// This list and the others have every page, or, with cursor=, the page that a
// nextCursor names; an empty cursor names the first.
func (h *Handler) ListPrompts(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "list_prompts", methods: getOrHead, run: (*call).listPrompts, caller: required, budget: h.requests})
}

// GetPrompt serves POST prompt/get: it takes a [GetPromptRequest] and answers
// [GetPromptSuccess], exactly as the MCP server sent it.
func (h *Handler) GetPrompt(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "get_prompt", methods: post, run: (*call).getPrompt, caller: required, budget: h.requests})
}

// ListResources serves GET resource/list?sessionId=: it answers
// [ListResourcesSuccess].
func (h *Handler) ListResources(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "list_resources", methods: getOrHead, run: (*call).listResources, caller: required, budget: h.requests})
}

// ListResourceTemplates serves GET resource/templates?sessionId=: it answers
// [ListResourceTemplatesSuccess].
func (h *Handler) ListResourceTemplates(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "list_resource_templates", methods: getOrHead, run: (*call).listResourceTemplates, caller: required, budget: h.requests})
}

// ReadResource serves POST resource/read: it takes a [ReadResourceRequest] and
// answers [ReadResourceSuccess], exactly as the MCP server sent it.
func (h *Handler) ReadResource(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "read_resource", methods: post, run: (*call).readResource, caller: required, budget: h.requests})
}

// Complete serves POST completion: it takes a [CompleteRequest] and answers
// [CompleteSuccess], exactly as the MCP server sent it.
func (h *Handler) Complete(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "complete", methods: post, run: (*call).complete, caller: required, budget: h.requests})
}

// Server serves GET server?sessionId=: it answers [ServerInfo], what the MCP
// server said of itself when the session connected.
func (h *Handler) Server(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "server", methods: getOrHead, run: (*call).server, caller: required, budget: h.requests})
}

func (c *call) listTools() error { return list(c, oauthclient.ListTools, c.h.manager.ListTools) }

func (c *call) listPrompts() error { return list(c, oauthclient.ListPrompts, c.h.manager.ListPrompts) }

func (c *call) listResources() error {
	return list(c, oauthclient.ListResources, c.h.manager.ListResources)
}

func (c *call) listResourceTemplates() error {
	return list(c, oauthclient.ListResourceTemplates, c.h.manager.ListResourceTemplates)
}

// list joins the elements' own JSON into one list, of all pages or of the one
// that the request names.
func list[T json.Marshaler](c *call, name oauthclient.List, all func(context.Context, session.Caller, string) ([]T, error)) error {
	if err := c.querySession(); err != nil {
		return err
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	if query := c.r.URL.Query(); query.Has("cursor") {
		page, err := c.h.manager.ListPage(c.r.Context(), caller, c.sessionID, name, query.Get("cursor"))
		if err != nil {
			return err
		}
		return writeList(c, name, page.Items, page.NextCursor)
	}
	items, err := all(c.r.Context(), caller, c.sessionID)
	if err != nil {
		return err
	}
	return writeList(c, name, items, "")
}

// writeList writes a list. Not through an Encoder, which would look at every byte
// of the server's JSON once more, only to copy it.
func writeList[T json.Marshaler](c *call, name oauthclient.List, items []T, nextCursor string) error {
	buf := c.h.buffer()
	defer c.h.release(buf)
	buf.WriteString(`{"` + string(name) + `":[`)
	for i, item := range items {
		if i > 0 {
			buf.WriteByte(',')
		}
		raw, err := item.MarshalJSON()
		if err != nil {
			return unusable(err)
		}
		buf.Write(raw)
	}
	buf.WriteByte(']')
	if nextCursor != "" {
		buf.WriteString(`,"nextCursor":`)
		if err := encodeJSON(buf, nextCursor); err != nil {
			return err
		}
	}
	buf.WriteByte('}')
	c.write(http.StatusOK, jsonType, buf.Bytes())
	return nil
}

func (c *call) getPrompt() error {
	var req GetPromptRequest
	caller, err := c.request(&req, &req.SessionID)
	if err != nil {
		return err
	}
	if err := c.requireName("name", req.Name); err != nil {
		return err
	}
	ask, err := c.ask(req.Input)
	if err != nil {
		return err
	}
	result, err := c.h.manager.GetPromptAsking(c.r.Context(), caller, c.sessionID, &mcp.GetPromptParams{Name: req.Name, Arguments: req.Arguments}, ask)
	return writeResult(c, result, err)
}

func (c *call) readResource() error {
	var req ReadResourceRequest
	caller, err := c.request(&req, &req.SessionID)
	if err != nil {
		return err
	}
	if err := c.requireName("uri", req.URI); err != nil {
		return err
	}
	ask, err := c.ask(req.Input)
	if err != nil {
		return err
	}
	result, err := c.h.manager.ReadResourceAsking(c.r.Context(), caller, c.sessionID, &mcp.ReadResourceParams{URI: req.URI}, ask)
	return writeResult(c, result, err)
}

func (c *call) complete() error {
	var req CompleteRequest
	caller, err := c.request(&req, &req.SessionID)
	if err != nil {
		return err
	}
	params := &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: req.Ref.Type, Name: req.Ref.Name, URI: req.Ref.URI}}
	params.Argument = mcp.CompleteParamsArgument{Name: req.Argument.Name, Value: req.Argument.Value}
	if len(req.Context.Arguments) > 0 {
		params.Context = &mcp.CompleteContext{Arguments: req.Context.Arguments}
	}
	switch {
	case req.Ref.Type == "ref/prompt" && req.Ref.Name != "", req.Ref.Type == "ref/resource" && req.Ref.URI != "":
	default:
		return invalid(`ref must be {"type": "ref/prompt", "name"} or {"type": "ref/resource", "uri"}.`)
	}
	if err := require("argument.name", req.Argument.Name); err != nil {
		return err
	}
	result, err := c.h.manager.Complete(c.r.Context(), caller, c.sessionID, params)
	return writeResult(c, result, err)
}

func (c *call) server() error {
	if err := c.querySession(); err != nil {
		return err
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	d, err := c.h.manager.Server(c.r.Context(), caller, c.sessionID)
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, ServerInfo{
		ProtocolVersion: d.ProtocolVersion, Info: objectOrEmpty(d.Info), Capabilities: objectOrEmpty(d.Capabilities), Instructions: d.Instructions,
	})
}

func objectOrEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || raw[0] != '{' {
		return json.RawMessage("{}")
	}
	return raw
}

// request reads the body of a request about a session, whose ID is at sessionID
// then.
func (c *call) request(into any, sessionID *string) (session.Caller, error) {
	if err := c.decode(into); err != nil {
		return session.Caller{}, err
	}
	if err := require("sessionId", *sessionID); err != nil {
		return session.Caller{}, err
	}
	c.sessionID = *sessionID
	return c.caller()
}

// writeResult answers with a result as the MCP server sent it.
func writeResult(c *call, result json.Marshaler, err error) error {
	if err != nil {
		return err
	}
	body, err := result.MarshalJSON()
	if err != nil {
		return unusable(err)
	}
	c.write(http.StatusOK, jsonType, body)
	return nil
}
