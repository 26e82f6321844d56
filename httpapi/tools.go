package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func (c *call) listTools() error {
	if err := c.querySession(); err != nil {
		return err
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	tools, err := c.h.manager.ListTools(c.r.Context(), caller, c.sessionID)
	if err != nil {
		return err
	}
	buf := c.h.buffer()
	defer c.h.release(buf)
	buf.WriteString(`{"tools":[`)
	for i, tool := range tools {
		if i > 0 {
			buf.WriteByte(',')
		}
		// Not through an Encoder, which would look at every byte of the
		// server's JSON once more, only to copy it.
		raw, err := tool.MarshalJSON()
		if err != nil {
			return unusable(err)
		}
		buf.Write(raw)
	}
	buf.WriteString(`]}`)
	c.write(http.StatusOK, jsonType, buf.Bytes())
	return nil
}

func (c *call) callTool() error {
	var req CallToolRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if err := require("sessionId", req.SessionID); err != nil {
		return err
	}
	if err := require("toolName", req.ToolName); err != nil {
		return err
	}
	args, err := toolArgs(req.ToolArgs)
	if err != nil {
		return err
	}
	c.sessionID = req.SessionID
	caller, err := c.caller()
	if err != nil {
		return err
	}
	if accepts(c.r, streamType) {
		return c.streamTool(caller, req.ToolName, args)
	}
	result, err := c.h.manager.CallTool(c.r.Context(), caller, req.SessionID, req.ToolName, args)
	if err != nil {
		return err
	}
	body, err := resultJSON(result)
	if err != nil {
		return err
	}
	c.write(http.StatusOK, jsonType, body)
	return nil
}

// resultJSON returns a tool's result as the server sent it. It makes sure of
// the two members by which a front end tells a result from everything else,
// spelled exactly so: without them a server could add requiresAuth and authUrl
// and have users sent wherever it likes.
func resultJSON(result *oauthclient.CallToolResult) (json.RawMessage, error) {
	body, err := result.MarshalJSON()
	if err != nil {
		return nil, unusable(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, unusable(err)
	}
	if _, ok := members["isError"]; !ok {
		body = slices.Concat([]byte(`{"isError":false,`), bytes.TrimLeft(body, " \t\r\n{"))
		members["isError"] = json.RawMessage("false")
	}
	if kindOf(members) != kindCallTool {
		return nil, unusable(errors.New("the tool result has no list of content, or isError is not a boolean"))
	}
	return body, nil
}

// unusable is a result that cannot be passed on.
func unusable(err error) error {
	return (&failure{status: http.StatusBadGateway, code: CodeUpstreamError, text: "The server's answer cannot be used."}).because(err)
}
