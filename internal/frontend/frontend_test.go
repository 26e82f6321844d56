// Package frontend_test checks what a front end gets, types.ts and
// mcp-oauth.js, against the Go server: with the TypeScript compiler, and by
// running it. `make types` installs what that needs.
package frontend_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// root is the repository's.
const root = "../.."

// tool finds a program. Without it a developer's test run goes on; CI's does
// not.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("needs scripts/frontend to be run once: " + err.Error())
	}
	require.NoError(t, err, "run scripts/frontend")
	path, err = filepath.Abs(path)
	require.NoError(t, err)
	return path
}

// run runs a program; its output is the failure's explanation.
func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	path := tool(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // go test compiles first
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func tsc(t *testing.T, args ...string) {
	t.Helper()
	tool(t, "node") // which it is run by
	run(t, nil, root+"/.tools/frontend/node_modules/.bin/tsc", args...)
}

// compiled compiles everything, which checks it, and returns where it is.
func compiled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tsc(t, "-p", ".", "--noEmit", "false", "--rootDir", root, "--outDir", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600))
	here := filepath.Join(dir, "internal", "frontend")
	scripts, err := filepath.Glob("*.mjs")
	require.NoError(t, err)
	for _, script := range scripts {
		source, err := os.ReadFile(script)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(here, script), source, 0o600))
	}
	return here
}

// Front-end code written for the TypeScript original works as it is.
func TestOriginalFrontEndWorks(t *testing.T) {
	t.Parallel()
	run(t, servers(t), "node", filepath.Join(compiled(t), "journey.mjs"))
}

func TestHelper_PassesItsOwnTests(t *testing.T) {
	t.Parallel()
	run(t, servers(t), "node", "--test", filepath.Join(compiled(t), "helper.mjs"))
}

// servers starts a host, its servers, and what lets a script play the user; it
// returns where they are as a script's environment.
func servers(t *testing.T) []string {
	t.Helper()
	as := authtest.New(authtest.Options{})
	t.Cleanup(as.Close)
	mcp := mcptest.New(mcptest.Options{Auth: as, ToolScopes: map[string][]string{"admin": {"admin"}}})
	t.Cleanup(mcp.Close)

	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	host := httptest.NewUnstartedServer(nil)
	handler, err := httpapi.New(manager, httpapi.Config{PublicURL: "http://" + host.Listener.Addr().String(), ConnectsPerMinute: -1})
	require.NoError(t, err)
	host.Config.Handler = handler
	host.Start()
	t.Cleanup(host.Close)

	control := httptest.NewServer(controls(as, mcp))
	t.Cleanup(control.Close)
	return []string{"HOST=" + host.URL, "CONTROL=" + control.URL, "MCP=" + mcp.URL()}
}

// controls is what a script can do beside using the API.
func controls(as *authtest.Server, mcp *mcptest.Server) http.Handler {
	mux := http.NewServeMux()
	for path, decide := range map[string]func(context.Context, string) (string, error){"/approve": as.Approve, "/deny": as.Deny} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			callback, err := decide(r.Context(), r.FormValue("url"))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, callback)
		})
	}
	mux.HandleFunc("/forget", func(http.ResponseWriter, *http.Request) { as.DropClients() })
	mux.HandleFunc("/revoke", func(http.ResponseWriter, *http.Request) { as.RevokeAll() })
	mux.HandleFunc("/cancelled", func(w http.ResponseWriter, r *http.Request) {
		for mcp.Cancelled() == 0 && r.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		_, _ = fmt.Fprint(w, mcp.Cancelled())
	})
	return mux
}
