package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mcpoauth-server-")
	if err == nil {
		binary = filepath.Join(dir, "server")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the server:", err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = busy.Close() })
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))
	short := base64.StdEncoding.EncodeToString([]byte("a short canary key"))
	for name, tc := range map[string]struct {
		env    []string
		want   string
		secret string
	}{
		"ADDR without a port":              {[]string{"ADDR=127.0.0.1"}, "ADDR: ", ""},
		"ADDR with a bad port":             {[]string{"ADDR=127.0.0.1:99999"}, "ADDR: ", ""},
		"ADDR in use":                      {[]string{"ADDR=" + busy.Addr().String()}, "ADDR: .*address already in use", ""},
		"PUBLIC_URL relative":              {[]string{"PUBLIC_URL=/app"}, "PUBLIC_URL .*: .*must be an absolute", ""},
		"PUBLIC_URL without a scheme":      {[]string{"PUBLIC_URL=app.example.com"}, "PUBLIC_URL .*: .*must be an absolute", ""},
		"PUBLIC_URL of another kind":       {[]string{"PUBLIC_URL=ftp://app.example.com"}, "PUBLIC_URL .*: .*must be an absolute", ""},
		"PUBLIC_URL in the clear":          {[]string{"PUBLIC_URL=http://app.example.com"}, "PUBLIC_URL .*: .*must be https", ""},
		"PUBLIC_URL with a password":       {[]string{"PUBLIC_URL=https://u:canary@app.example.com"}, "PUBLIC_URL .*: .*user info", "canary"},
		"ADDR that is no public URL":       {[]string{"ADDR=:0"}, "PUBLIC_URL .*: ", ""},
		"REDIS_URL of another kind":        {[]string{"REDIS_URL=ftp://:canary@127.0.0.1"}, "REDIS_URL: ", "canary"},
		"REDIS_URL without keys":           {[]string{"REDIS_URL=redis://:canary@127.0.0.1:1"}, "MCPOAUTH_SEAL_KEYS: is required with REDIS_URL; make a key with: openssl rand -base64 32", "canary"},
		"DATABASE_URL of another kind":     {[]string{"DATABASE_URL=mysql://u:canary@127.0.0.1/db"}, "DATABASE_URL: must be postgres://user:password@host/database or sqlite:path", "canary"},
		"DATABASE_URL that does not parse": {[]string{"DATABASE_URL=postgres://u:ca%nary@127.0.0.1/db"}, "DATABASE_URL: cannot be parsed", "nary"},
		"DATABASE_URL that is away":        {[]string{"DATABASE_URL=postgres://u:canary@127.0.0.1:1/db"}, "DATABASE_URL: sqlstore: ", "canary"},
		"DATABASE_URL without a file":      {[]string{"DATABASE_URL=sqlite:"}, "DATABASE_URL: must be ", ""},
		"DATABASE_URL in no directory":     {[]string{"DATABASE_URL=sqlite:/no/such/directory/sessions.db"}, "DATABASE_URL: sqlstore: ", ""},
		"DATABASE_URL without keys":        {[]string{"DATABASE_URL=sqlite::memory:"}, "MCPOAUTH_SEAL_KEYS: is required with DATABASE_URL; make a key with: openssl rand -base64 32", ""},
		"two stores":                       {[]string{"DATABASE_URL=sqlite:x", "REDIS_URL=redis://:canary@127.0.0.1:1"}, "DATABASE_URL, REDIS_URL: only one", "canary"},
		"key that is not base64":           {[]string{"MCPOAUTH_SEAL_KEYS=" + good + ",canary!"}, "MCPOAUTH_SEAL_KEYS: session: seal key 2 is not base64; make a key with: openssl rand -base64 32", "canary"},
		"key of another length":            {[]string{"MCPOAUTH_SEAL_KEYS=" + short + "," + good}, "MCPOAUTH_SEAL_KEYS: session: seal key 1 is 18 bytes long, want 32; make a key with: openssl rand -base64 32", short},
		"key that is empty":                {[]string{"MCPOAUTH_SEAL_KEYS=" + good + ","}, "MCPOAUTH_SEAL_KEYS: session: seal key 2 is 0 bytes long, want 32; make a key with: openssl rand -base64 32", good},
		"rate limit that is no number":     {[]string{"MCPOAUTH_RATE_LIMIT=many"}, "MCPOAUTH_RATE_LIMIT: must be a number", ""},
		"rate limit below zero":            {[]string{"MCPOAUTH_RATE_LIMIT=-1"}, "MCPOAUTH_RATE_LIMIT: must be a number", ""},
		"rate limit with a fraction":       {[]string{"MCPOAUTH_RATE_LIMIT=0.5"}, "MCPOAUTH_RATE_LIMIT: must be a number", ""},
		"rate limit that is absurd":        {[]string{"MCPOAUTH_RATE_LIMIT=99999999999"}, "MCPOAUTH_RATE_LIMIT: must be a number", ""},
		"proxy without a network":          {[]string{"TRUSTED_PROXIES=10.0.0.1"}, "TRUSTED_PROXIES: ", ""},
		"proxy that is mapped":             {[]string{"TRUSTED_PROXIES=::ffff:10.0.0.0/104"}, ".*TrustedProxies", ""},
		"loopback neither yes nor no":      {[]string{"MCPOAUTH_ALLOW_LOOPBACK=true"}, "MCPOAUTH_ALLOW_LOOPBACK: ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary)
			cmd.Env = environ(tc.env...)
			out, err := cmd.CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok, "it started: %v\n%s", err, out)
			require.Equal(t, 1, exit.ExitCode(), "%s", out)
			require.Regexp(t, `level=ERROR msg="`+tc.want, string(out))
			if tc.secret != "" {
				require.NotContains(t, string(out), tc.secret)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	p := start(t)
	require.Contains(t, p.log.String(), "callback=http://127.0.0.1:0/api/mcp/auth/callback", "PUBLIC_URL follows ADDR")
	status, body := p.get(t, "/healthz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)
	status, body = p.get(t, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "store: ok\nkeys: ok\nclock: ok\n", body)
	status, _ = p.get(t, "/elsewhere")
	require.Equal(t, http.StatusNotFound, status)

	// Loopback is not to be reached unless that is asked for.
	srv := mcptest.New(mcptest.Options{})
	t.Cleanup(srv.Close)
	answer := p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: srv.URL()})
	require.True(t, httpapi.IsConnectError(answer))
	require.Equal(t, httpapi.CodeForbiddenServerURL, answer.ErrorResponse.Code)
	require.Empty(t, srv.Requests())

	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, p.wait(t))
}

func TestJourney(t *testing.T) {
	t.Parallel()
	as := authtest.New(authtest.Options{})
	t.Cleanup(as.Close)
	srv := mcptest.New(mcptest.Options{Auth: as})
	t.Cleanup(srv.Close)
	// As behind a proxy: the public URL is not the address.
	keys := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("1"), 32)) + ", " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("2"), 32))
	p := start(t, "MCPOAUTH_ALLOW_LOOPBACK=1", "PUBLIC_URL=https://app.example.com", "MCPOAUTH_SEAL_KEYS="+keys)

	answer := p.post(t, "/auth/connect", httpapi.ConnectRequest{ServerURL: srv.URL()})
	require.True(t, httpapi.IsConnectAuthRequired(answer), "%+v", answer)
	id := answer.AuthRequired.SessionID
	callback, err := as.Approve(t.Context(), answer.AuthRequired.AuthURL)
	require.NoError(t, err)
	back, err := url.Parse(callback)
	require.NoError(t, err)
	require.Equal(t, "https://app.example.com/api/mcp/auth/callback", back.Scheme+"://"+back.Host+back.Path)
	status, body := p.get(t, back.RequestURI())
	require.Equal(t, http.StatusOK, status, body)
	status, body = p.get(t, "/api/mcp/tool/list?sessionId="+id)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, `"whoami"`)

	// A call in progress outlives the signal; nothing new is accepted.
	called := make(chan httpapi.Response, 1)
	release := srv.BlockRPC("tools/call")
	t.Cleanup(release)
	go func() { called <- p.post(t, "/tool/call", httpapi.CallToolRequest{SessionID: id, ToolName: "echo"}) }()
	require.Eventually(t, func() bool { return srv.Count("tools/call") == 1 }, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 30*time.Second, 5*time.Millisecond)
	require.Empty(t, called, "it has not ended by then")
	release()
	require.True(t, httpapi.IsCallToolSuccess(<-called))
	require.NoError(t, p.wait(t))
	for _, secret := range append(srv.Tokens(), id, keys[:20], back.Query().Get("code"), back.Query().Get("state")) {
		require.NotContains(t, p.log.String(), secret)
	}
}

// process is a running server, and a browser that has it open.
type process struct {
	cmd    *exec.Cmd
	addr   string
	public string // PUBLIC_URL
	log    *testlog.Buffer
	exited chan error
	client *http.Client
}

// environ is the environment of a server on a free port.
func environ(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "ADDR=127.0.0.1:0"}, more...)
}

var (
	listening = regexp.MustCompile(`msg=listening addr=(\S+)`)
	publicURL = regexp.MustCompile(`callback=(https?://[^/\s]+)`)
)

// start runs the server until it listens.
func start(t *testing.T, env ...string) *process {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	p := &process{cmd: exec.Command(binary), log: new(testlog.Buffer), exited: make(chan error, 1)}
	p.client = &http.Client{Jar: jar, Transport: proxy{p}}
	p.cmd.Env, p.cmd.Stderr = environ(env...), p.log
	require.NoError(t, p.cmd.Start())
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	require.Eventually(t, func() bool { return listening.MatchString(p.log.String()) }, 30*time.Second, 5*time.Millisecond)
	p.addr = listening.FindStringSubmatch(p.log.String())[1]
	p.public = publicURL.FindStringSubmatch(p.log.String())[1]
	return p
}

// proxy sends what a browser asks of PUBLIC_URL to the server, and keeps Host.
type proxy struct{ to *process }

var direct http.Transport

func (p proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Host, out.URL.Scheme, out.URL.Host = r.URL.Host, "http", p.to.addr
	return direct.RoundTrip(out)
}

// wait returns how the process ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.exited:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("it does not stop:\n%s", p.log)
		return nil
	}
}

func (p *process) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.public+path, nil)
	require.NoError(t, err)
	return p.do(t, req)
}

func (p *process) post(t *testing.T, path string, body any) (answer httpapi.Response) {
	t.Helper()
	encoded, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.public+"/api/mcp"+path, bytes.NewReader(encoded))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	_, data := p.do(t, req)
	require.NoError(t, json.NewDecoder(strings.NewReader(data)).Decode(&answer), data)
	return answer
}

func (p *process) do(t *testing.T, req *http.Request) (status int, body string) {
	t.Helper()
	resp, err := p.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(data)
}
