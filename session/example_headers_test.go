package session_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A user gives an API key in place of an authorization.
func ExampleConnectParams_headers() {
	mcp := mcptest.New(mcptest.Options{})
	defer mcp.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer refusing.Close()
	_, _, cfg, stop := exampleServers()
	defer stop()
	cfg.AllowKeyHeaders = []string{"X-Api-Key"}
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	key := map[string]oauthclient.Secret{"X-Api-Key": oauthclient.NewSecret("secret")}
	info, err := m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), Headers: key})
	fmt.Println(info.Status, err)
	_, err = m.Connect(ctx, caller, session.ConnectParams{ServerURL: refusing.URL, Headers: key})
	rejected, ok := errors.AsType[*oauthclient.CredentialsRejectedError](err)
	fmt.Println(ok, rejected.StatusCode)
	_, err = m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), Headers: map[string]oauthclient.Secret{"Cookie": {}}})
	fmt.Println(err)
	// Output:
	// connected <nil>
	// true 401
	// session: Headers has a name that is not allowed here
}
