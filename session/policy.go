package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// RefusedError says that a function of [Config] refused a server or a call. The
// server was not asked to do it.
type RefusedError struct {
	// Text is for the caller, who reads nothing else of the refusal. It is empty
	// unless the function returned a RefusedError with a Text of its own.
	Text string
	// Err is what the function returned, for the log. It is not in the chain of
	// errors: what it wraps says nothing about the session.
	Err error
}

func (e *RefusedError) Error() string {
	switch {
	case e.Err != nil:
		return "session: refused by the host: " + e.Err.Error()
	case e.Text != "":
		return "session: refused by the host: " + e.Text
	}
	return "session: refused by the host"
}

// refusal returns the error for what a function of Config returned.
func refusal(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err() // the caller gave up, which refuses nothing
	}
	if own, ok := errors.AsType[*RefusedError](err); ok {
		return own
	}
	return &RefusedError{Err: err}
}

// allow asks the host whether a caller may use a server.
func (m *Manager) allow(ctx context.Context, caller Caller, serverURL string) error {
	if m.cfg.AllowServer == nil {
		return nil
	}
	return refusal(ctx, m.cfg.AllowServer(ctx, caller, serverURL))
}

// usable is lookup for a session whose server is about to be used.
func (m *Manager) usable(ctx context.Context, caller Caller, sessionID string) (stored, error) {
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return stored{}, err
	}
	return s, m.allow(ctx, caller, s.ServerURL)
}

// filter leaves out the tools that the host does not show.
func (m *Manager) filter(ctx context.Context, caller Caller, sessionID string, tools []*oauthclient.Tool) ([]*oauthclient.Tool, error) {
	if m.cfg.ToolFilter == nil {
		return tools, nil
	}
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return nil, err
	}
	info := m.info(s)
	return slices.DeleteFunc(tools, func(tool *oauthclient.Tool) bool { return !m.cfg.ToolFilter(ctx, info, tool) }), nil
}

// filterPage is filter for a page of tools.
func (m *Manager) filterPage(ctx context.Context, caller Caller, sessionID string, page oauthclient.Page) (oauthclient.Page, error) {
	if m.cfg.ToolFilter == nil {
		return page, nil
	}
	tools := make([]*oauthclient.Tool, len(page.Items))
	for i, item := range page.Items {
		tools[i] = new(oauthclient.Tool)
		if err := tools[i].UnmarshalJSON(item); err != nil {
			return oauthclient.Page{}, err
		}
	}
	tools, err := m.filter(ctx, caller, sessionID, tools)
	if err != nil {
		return oauthclient.Page{}, err
	}
	page.Items = page.Items[:0]
	for _, tool := range tools {
		item, err := tool.MarshalJSON()
		if err != nil {
			return oauthclient.Page{}, err
		}
		page.Items = append(page.Items, item)
	}
	return page, nil
}

// mayCall asks the host about a tool call, and returns the arguments to send:
// the ones that the host has seen.
func (m *Manager) mayCall(ctx context.Context, sessionID string, client *oauthclient.MCPOAuthClient, name string, args any) (any, error) {
	if m.cfg.ToolFilter == nil && m.cfg.BeforeCall == nil {
		return args, nil
	}
	key, _, _ := splitID(sessionID)
	s, err := m.read(ctx, key)
	if err != nil {
		return nil, err
	}
	info := m.info(s)
	if m.cfg.ToolFilter != nil {
		described, err := m.described(ctx, key, client, name)
		if err != nil {
			return nil, err
		}
		hidden := func(tool *oauthclient.Tool) bool { return !m.cfg.ToolFilter(ctx, info, tool) }
		if len(described) == 0 || slices.ContainsFunc(described, hidden) {
			return nil, &RefusedError{Err: fmt.Errorf("Config.ToolFilter does not let the tool %q through", name)}
		}
	}
	if m.cfg.BeforeCall == nil {
		return args, nil
	}
	encoded, err := encodeArgs(args)
	if err != nil {
		return nil, err
	}
	return encoded, refusal(ctx, m.cfg.BeforeCall(ctx, info, name, encoded))
}

// encodeArgs returns the arguments of a call as JSON in which every reader finds
// the same values.
func encodeArgs(args any) (json.RawMessage, error) {
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("session: the arguments of the tool cannot be encoded: %w", err)
	}
	if raw, ok := args.(json.RawMessage); ok {
		encoded = raw // Marshal has changed its spelling
	}
	if len(encoded) == 0 || string(encoded) == "null" {
		return json.RawMessage("{}"), nil
	}
	if repeatsName(encoded) {
		return nil, &InputError{Field: "args", Reason: "must not have a name twice in an object"}
	}
	return encoded, nil
}

// repeatsName reports whether an object in valid JSON has a name twice. Readers
// disagree about which of the values counts.
func repeatsName(data []byte) bool {
	type level struct {
		names map[string]bool // nil in an array
		value bool            // the next token is a value
	}
	var levels []level
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if len(levels) > 0 {
			in := &levels[len(levels)-1]
			if in.names != nil && !in.value {
				name, _ := token.(string)
				if in.names[name] {
					return true
				}
				in.names[name], in.value = true, true
				continue
			}
			in.value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: make(map[string]bool)})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
}

// What a replica remembers of the descriptions that Config.ToolFilter judges.
const (
	descriptionLife     = time.Minute
	maxDescriptions     = 64       // of one session
	maxDescriptionBytes = 16 << 10 // of one tool
)

// description is how a server described a tool: more than once if it listed
// several under one name.
type description struct {
	tools  []*oauthclient.Tool
	listed time.Time
}

// described returns the description of a tool, none if the server does not list
// it. It asks the server unless it has just done so.
func (m *Manager) described(ctx context.Context, key string, client *oauthclient.MCPOAuthClient, name string) ([]*oauthclient.Tool, error) {
	now := m.cfg.Now()
	if known := m.cache.described(key, name, now); known != nil {
		return known, nil
	}
	listed, err := client.ListTools(ctx)
	if err != nil {
		return nil, err
	}
	named := slices.DeleteFunc(listed, func(tool *oauthclient.Tool) bool { return tool.Name != name })
	size := 0
	for _, tool := range named {
		raw, err := tool.MarshalJSON()
		if err != nil {
			return nil, err
		}
		size += len(raw)
	}
	if len(named) > 0 && size <= maxDescriptionBytes {
		m.cache.describe(key, name, description{slices.Clone(named), now})
	}
	return named, nil
}

// described returns a description that is not old.
func (c *cache) described(key, name string, now time.Time) (tools []*oauthclient.Tool) {
	c.with(key, false, func(entry *cached) {
		if known, ok := entry.described[name]; ok && now.Sub(known.listed) < descriptionLife {
			tools = known.tools
		}
	})
	return tools
}

// describe remembers a description.
func (c *cache) describe(key, name string, d description) {
	c.with(key, false, func(entry *cached) {
		if entry.described == nil || len(entry.described) >= maxDescriptions {
			entry.described = make(map[string]description)
		}
		entry.described[name] = d
	})
}
