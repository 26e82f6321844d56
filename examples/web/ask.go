package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// bookTable asks for what it was not told, in a form.
var bookTable = tool{
	Tool: mcp.Tool{
		Name: "book_table", Title: "Book a table", Description: "Asks you for the details before it books.",
		InputSchema: json.RawMessage(`{"type":"object","required":["restaurant"],"properties":{
			"restaurant":{"type":"string","title":"Restaurant","default":"Zum Löwen"}}}`),
	},
	call: func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var args struct{ Restaurant string }
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, err
		}
		answer, answered := req.Params.InputResponses["details"].(*mcp.ElicitResult)
		if !answered {
			return asking("details", "", &mcp.ElicitParams{
				Mode: "form", Message: "When do you want to come to " + args.Restaurant + ", and with how many?",
				RequestedSchema: json.RawMessage(`{"type":"object","required":["date","guests","seating"],"properties":{
					"date":{"type":"string","title":"Date","format":"date"},
					"guests":{"type":"integer","title":"Guests","minimum":1,"maximum":12,"default":2},
					"seating":{"type":"string","title":"Seating","oneOf":[{"const":"inside","title":"Inside"},{"const":"terrace","title":"On the terrace"}]},
					"wishes":{"type":"array","title":"Wishes","maxItems":2,"items":{"type":"string","enum":["High chair","Vegan menu","Quiet corner"]}}}}`),
			}), nil
		}
		if answer.Action != "accept" {
			return said("Nothing was booked: you answered %q.", answer.Action), nil
		}
		return &mcp.CallToolResult{
			Content:           []mcp.Content{&mcp.TextContent{Text: "Booked a table at " + args.Restaurant + "."}},
			StructuredContent: answer.Content,
		}, nil
	},
}

// asking is a result that wants something of the user first.
func asking(name, state string, question *mcp.ElicitParams) *mcp.CallToolResult {
	return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{name: question}, RequestState: state}
}

func said(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

// bank is a site where users do what no form of another application should ask
// for. Its tool sends them there.
type bank struct {
	url    string
	server *http.Server

	mu     sync.Mutex // guards linked
	linked map[string]bool
}

func startBank() (*bank, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bank{url: "http://" + listener.Addr().String(), linked: make(map[string]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /link/{id}", b.page)
	mux.HandleFunc("POST /link/{id}", b.link)
	b.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(listener) }()
	return b, nil
}

func (b *bank) close() { _ = b.server.Close() }

const (
	bankHead = `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>Demo bank</title><link rel="icon" href="data:,">`
	bankPage = bankHead + `<h1>Demo bank</h1><p>Allow the MCP server to see your balance?</p><form method="post"><button>Allow</button></form>`
	bankDone = bankHead + `<h1>Demo bank</h1><p>Done. Close this tab, and go on in the application.</p>`
)

func (b *bank) page(w http.ResponseWriter, _ *http.Request) { writePage(w, bankPage) }

func (b *bank) link(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.linked[r.PathValue("id")] = true
	b.mu.Unlock()
	writePage(w, bankDone)
}

func writePage(w http.ResponseWriter, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page))
}

// tool sends the user to the bank, until the bank knows what the user wants.
func (b *bank) tool() tool {
	return tool{
		Tool: mcp.Tool{
			Name: "show_balance", Title: "Show the balance", Description: "Sends you to the bank first.",
			InputSchema: json.RawMessage(`{"type":"object","properties":{}}`),
		},
		call: func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			id := req.Params.RequestState
			b.mu.Lock()
			linked := b.linked[id]
			b.mu.Unlock()
			if linked {
				return said("The balance is 1234.56 euros."), nil
			}
			if answer, answered := req.Params.InputResponses["link"].(*mcp.ElicitResult); answered && answer.Action != "accept" {
				return said("The bank was not asked: you answered %q.", answer.Action), nil
			}
			if id == "" {
				id = rand.Text()
			}
			return asking("link", id, &mcp.ElicitParams{
				Mode: "url", Message: "To see the balance, allow it at your bank.", URL: b.url + "/link/" + id, ElicitationID: id,
			}), nil
		},
	}
}
