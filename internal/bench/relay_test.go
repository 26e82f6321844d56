package bench_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// relay is the floor of a tool call: one handler and one POST, for one user of
// one server. It looks at nothing but the result.
type relay struct {
	transport http.RoundTripper
	url       string
	token     string
	session   string // Mcp-Session-Id, on revisions that have it
	version   string
	next      atomic.Int64
}

const relayMeta = `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientInfo":{"name":"relay","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`

// post sends one JSON-RPC message and returns the result and the session ID.
func (r *relay) post(method, name, params string) (json.RawMessage, string, error) {
	message := `{"jsonrpc":"2.0","method":"` + method + `","params":` + params + `,"id":` + strconv.FormatInt(r.next.Add(1), 10) + `}`
	req, err := http.NewRequest(http.MethodPost, r.url, bytes.NewReader([]byte(message)))
	if err != nil {
		return nil, "", err
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + r.token},
		"Mcp-Protocol-Version": {r.version}, "Mcp-Method": {method},
	}
	if name != "" {
		req.Header["Mcp-Name"] = []string{name}
	}
	if r.session != "" {
		req.Header["Mcp-Session-Id"] = []string{r.session}
	}
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", err
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Result, resp.Header.Get("Mcp-Session-Id"), err
}

// connect opens an MCP session on revisions that have sessions.
func (r *relay) connect() (err error) {
	if r.version == "2026-07-28" {
		return nil
	}
	_, r.session, err = r.post("initialize", "", `{"protocolVersion":"`+r.version+`","capabilities":{},"clientInfo":{"name":"relay","version":"1"}}`)
	return err
}

func (r *relay) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	var in struct {
		ToolName string          `json:"toolName"`
		ToolArgs json.RawMessage `json:"toolArgs"`
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	params := `{"name":"` + in.ToolName + `","arguments":` + string(in.ToolArgs)
	if r.version == "2026-07-28" {
		params += relayMeta
	}
	result, _, err := r.post("tools/call", in.ToolName, params+"}")
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = rw.Write(result)
}
