package wire_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// benchResult is a tool's result of about 1 KB.
const benchResult = `{"content":[{"type":"text","text":"%"}],"structuredContent":{"n":9007199254740993}}`

// answerBench answers calls without a network.
type answerBench struct{ contentType, before, after string }

func (a answerBench) RoundTrip(r *http.Request) (*http.Response, error) {
	var buf [512]byte
	n, err := io.ReadFull(r.Body, buf[:])
	if err != nil && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	_, id, _ := strings.Cut(string(buf[:n]), `"id":`)
	id, _, _ = strings.Cut(id, ",")
	body := a.before + id + a.after
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {a.contentType}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
}

func benchmarkCall(b *testing.B, version string, transport answerBench) {
	c := newClient("https://mcp.example/mcp")
	c.HTTP = &http.Client{Transport: transport}
	conn := connOf(version)
	r := wire.Request{Method: "tools/call", Name: "echo", Params: json.RawMessage(`{"name":"echo","arguments":{"text":"` + strings.Repeat("x", 200) + `"}}`)}
	r.Arguments = json.RawMessage(`{"text":"x"}`)
	b.ReportAllocs()
	for b.Loop() {
		got, err := c.Call(b.Context(), conn, c.NewOp(), r)
		if err != nil || len(got) < 1000 {
			b.Fatal(strconv.Itoa(len(got)), err)
		}
	}
}

func BenchmarkCallJSON(b *testing.B) {
	text := strings.Replace(benchResult, "%", strings.Repeat("x", 1000), 1)
	benchmarkCall(b, "2026-07-28", answerBench{"application/json", `{"jsonrpc":"2.0","id":`, `,"result":` + text + `}`})
}

func BenchmarkCallStream(b *testing.B) {
	text := strings.Replace(benchResult, "%", strings.Repeat("x", 1000), 1)
	benchmarkCall(b, "2025-11-25", answerBench{"text/event-stream", "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":", `,"result":` + text + "}\n\n"})
}

// BenchmarkFloor is what building a request, http.Client and the fake transport
// cost by themselves.
func BenchmarkFloor(b *testing.B) {
	text := strings.Replace(benchResult, "%", strings.Repeat("x", 1000), 1)
	client := &http.Client{Transport: answerBench{"application/json", `{"jsonrpc":"2.0","id":`, `,"result":` + text + `}`}}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + strings.Repeat("x", 200) + `"}}}`
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://mcp.example/mcp", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			b.Fatal(err)
		}
	}
}
