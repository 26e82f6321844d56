package main

import (
	"context"
	_ "embed" // page.html
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// tellInterval is how often serve looks for what happened.
const tellInterval = 100 * time.Millisecond

// serve keeps everything up until ctx ends, and tells what the host does.
func serve(ctx context.Context, out *narrator) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	out.title("Everything is up, until Ctrl-C")
	w.introduce(out)
	out.line()
	out.title("In a browser, open " + w.hostURL + "/, or paste into another shell:")
	for line := range strings.Lines(w.commands()) {
		out.line("   ", strings.TrimSuffix(line, "\n"))
	}
	out.line()
	out.title("What the host does behind the requests is told here.")
	ticker := time.NewTicker(tellInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			out.end("Stopped.")
			return nil
		case <-ticker.C:
			out.exchanges(w.wire.take(true))
		}
	}
}

// commands are the journey for a POSIX shell with curl and sed. The host's
// cookie, which ties the authorization to this "browser", is kept in jar.
func (w *world) commands() string {
	const script = `cd "$(mktemp -d)"

# 1. Connect: answered with 401 and where to authorize.
curl -sS -c jar -b jar -H 'Content-Type: application/json' -o connect.json \
  -d '{"serverUrl":"%[2]s"}' %[1]s/auth/connect
cat connect.json; echo
AUTH_URL=$(sed 's/.*"authUrl":"\([^"]*\)".*/\1/' connect.json)
SESSION=$(sed 's/.*"sessionId":"\([^"]*\)".*/\1/' connect.json)

# 2. Say yes on the consent page, and follow it back to the host's callback.
curl -sS -c jar -b jar -L -d decision=approve "$AUTH_URL"; echo

# 3. List, call, disconnect. The tool "admin" needs another scope: a new 401.
curl -sS "%[1]s/tool/list?sessionId=$SESSION"; echo
curl -sS -H 'Content-Type: application/json' \
  -d '{"sessionId":"'"$SESSION"'","toolName":"add","toolArgs":{"a":20,"b":22}}' %[1]s/tool/call; echo
curl -sS -c jar -b jar -H 'Content-Type: application/json' \
  -d '{"sessionId":"'"$SESSION"'","toolName":"admin"}' %[1]s/tool/call; echo
curl -sS -H 'Content-Type: application/json' \
  -d '{"sessionId":"'"$SESSION"'"}' %[1]s/auth/disconnect; echo
`
	return fmt.Sprintf(script, w.api, w.mcp.URL())
}

//go:embed page.html
var pageHTML string

// servePage serves the front end, for a person with a browser.
func servePage(serverURL string) http.HandlerFunc {
	page := template.Must(template.New("page").Parse(pageHTML))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = page.Execute(w, serverURL) // a browser that is gone cannot be told
	}
}
