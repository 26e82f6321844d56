package httpapi

import (
	"net/http"
)

// callTool checks the request in full, and only then decides between one answer
// and a stream of events.
func (c *call) callTool() error {
	var req CallToolRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if err := require("sessionId", req.SessionID); err != nil {
		return err
	}
	if err := c.requireName("toolName", req.ToolName); err != nil {
		return err
	}
	args, err := toolArgs(req.ToolArgs)
	if err != nil {
		return err
	}
	ask, err := c.ask(req.Input)
	if err != nil {
		return err
	}
	c.sessionID, c.tool = req.SessionID, req.ToolName
	caller, err := c.caller()
	if err != nil {
		return err
	}
	if accepts(c.r, streamType) {
		return c.streamTool(caller, req.ToolName, args, ask)
	}
	result, err := c.h.manager.CallToolAsking(c.r.Context(), caller, req.SessionID, req.ToolName, args, ask, nil)
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

// unusable is a result that cannot be passed on.
func unusable(err error) error {
	return (&failure{status: http.StatusBadGateway, code: CodeUpstreamError, text: "The server's answer cannot be used."}).because(err)
}
