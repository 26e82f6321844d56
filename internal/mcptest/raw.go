package mcptest

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// RawReply is a JSON-RPC answer whose bytes reach the client as they are: the
// SDK's types would drop members they do not know and may rewrite numbers.
// Exactly one of its fields is set.
type RawReply struct {
	// Result is the JSON of the result member.
	Result json.RawMessage
	// Error is the JSON of the error member.
	Error json.RawMessage
}

// ExoticTool is a tool definition that the SDK's types cannot carry: unknown
// members, an integer above 2^53, vendor keywords in the schema. Its
// members are in an order that sorting would change.
const ExoticTool = `{"name":"exotic","x-vendor":{"z":1,"a":[true,null]},"futureField":"kept",` +
	`"description":"caf\u00e9 <b>&</b>","inputSchema":{"type":"object","x-order":["b","a"],` +
	`"properties":{"b":{"type":"integer","maximum":9007199254740993,"x-unit":"ms"},"a":{"type":"string","default":""}},` +
	`"required":["b"]},"_meta":{"example.org/weight":1.10}}`

// ExoticResult is a tools/call result that the SDK's types cannot carry.
const ExoticResult = `{"resultType":"complete","content":[{"type":"text","text":"done","x-vendor":1},` +
	`{"type":"hologram","frames":9007199254740993}],"structuredContent":{"id":9007199254740993,"ratio":1.10},` +
	`"isError":false,"futureField":{"z":1,"a":2},"_meta":{"example.org/trace":"t-1"}}`

// RawTools answers tools/list with one page of tool definitions, and tools/call
// for any tool with result; an empty result leaves tools/call to the SDK. It is
// a value for [Options.Raw].
func RawTools(result string, tools ...string) func(string, json.RawMessage) *RawReply {
	list := `{"resultType":"complete","tools":[`
	for i, tool := range tools {
		if i > 0 {
			list += ","
		}
		list += tool
	}
	list += `]}`
	return func(method string, _ json.RawMessage) *RawReply {
		switch {
		case method == "tools/list":
			return &RawReply{Result: json.RawMessage(list)}
		case method == methodCallTool && result != "":
			return &RawReply{Result: json.RawMessage(result)}
		}
		return nil
	}
}

// answer lets Options.Raw answer, and else the SDK.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *Request) {
	if s.opts.Raw != nil && r.Method == http.MethodPost && len(req.RPCID) > 0 {
		if reply := s.opts.Raw(req.RPCMethod, req.Params); reply != nil {
			s.writeRaw(w, req, reply)
			return
		}
	}
	s.mu.Lock()
	h := s.handler
	s.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (s *Server) writeRaw(w http.ResponseWriter, req *Request, reply *RawReply) {
	var message bytes.Buffer
	message.WriteString(`{"jsonrpc":"2.0","id":`)
	message.Write(req.RPCID)
	if reply.Error != nil {
		message.WriteString(`,"error":`)
		message.Write(reply.Error)
	} else {
		message.WriteString(`,"result":`)
		message.Write(reply.Result)
	}
	message.WriteByte('}')
	if s.opts.JSONResponse {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(message.Bytes())
		return
	}
	// An event is one line; compacting keeps the spelling of every value.
	var line bytes.Buffer
	if err := json.Compact(&line, message.Bytes()); err != nil {
		line = message // not valid JSON, on purpose
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = w.Write([]byte("event: message\ndata: " + line.String() + "\n\n"))
}
