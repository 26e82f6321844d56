package httpapitest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"testing"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/httpapi/httpapitest"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
	"github.com/mcpoauth/mcpoauth/session"
)

// outsideTest stands for the t of a test, which an example does not have.
type outsideTest struct {
	testing.TB
	cleanups []func()
}

func (t *outsideTest) Helper()                      {}
func (t *outsideTest) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }
func (t *outsideTest) Context() context.Context     { return context.Background() }
func (t *outsideTest) Errorf(text string, a ...any) { log.Printf(text, a...) }
func (t *outsideTest) FailNow()                     { log.Fatal("failed") }
func (t *outsideTest) end() {
	for i := range t.cleanups {
		t.cleanups[len(t.cleanups)-1-i]()
	}
}

// A host in one line, and its user. In a test, t is the test's own.
func ExampleNewHost() {
	t := new(outsideTest)
	defer t.end()

	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	t.Cleanup(auth.Close)
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	t.Cleanup(server.Close)

	alice := httpapitest.NewHost(t, httpapitest.HostConfig{}).User("alice")
	sessionID := alice.Connect(server.URL())
	fmt.Println(alice.CallTool(sessionID, "add", map[string]int{"a": 2, "b": 40}).Text())
	// Output: 42
}

// A host with a login of its own. In a test, t is the test's own.
func ExampleServe() {
	t := new(outsideTest)
	defer t.end()

	// The host: a login that sets a cookie, and the library behind it.
	newRouter := func(manager *session.Manager, publicURL string) (http.Handler, error) {
		api, err := httpapi.New(manager, httpapi.Config{
			PublicURL: publicURL,
			Identify: func(r *http.Request) (string, error) {
				cookie, err := r.Cookie("login")
				if err != nil {
					return "", errors.New("not signed in")
				}
				return cookie.Value, nil
			},
		})
		mux := http.NewServeMux()
		mux.Handle("/api/mcp/", api)
		mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "login", Value: r.PostFormValue("user"), Path: "/", SameSite: http.SameSiteLaxMode})
		})
		return mux, err
	}

	// Its test.
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	t.Cleanup(auth.Close)
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	t.Cleanup(server.Close)
	manager := httpapitest.NewManager(t, session.Config{})
	host := httpapitest.Serve(t, func(publicURL string) (http.Handler, error) { return newRouter(manager, publicURL) })
	alice := httpapitest.NewUser(t, host+"/api/mcp", nil)

	status, _ := alice.Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
	fmt.Println("without a login:", status)
	resp, err := alice.Client.PostForm(host+"/login", url.Values{"user": {"alice"}})
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
	fmt.Println("whoami:", alice.CallTool(alice.Connect(server.URL()), "whoami", nil).Text())
	// Output:
	// without a login: 401
	// whoami: alice
}
