package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// The host decides which tools a user has, and about each call.
func ExampleConfig_policy() {
	mcp := mcptest.New(mcptest.Options{})
	defer mcp.Close()
	_, _, cfg, stop := exampleServers()
	defer stop()
	cfg.ToolFilter = func(_ context.Context, _ session.Info, tool *oauthclient.Tool) bool { return tool.Name != "admin" }
	cfg.BeforeCall = func(_ context.Context, _ session.Info, tool string, args json.RawMessage) error {
		fmt.Println("before", tool, string(args))
		if tool == "slow" {
			return &session.RefusedError{Text: "Not before 5 p.m."}
		}
		return nil
	}
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	info, err := m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), CallbackURL: "https://app.example/callback"})
	if err != nil {
		log.Fatal(err)
	}
	for _, tool := range []string{"echo", "slow", "admin"} {
		_, err = m.CallTool(ctx, caller, info.ID.Reveal(), tool, map[string]int{"n": 1})
		refused, ok := errors.AsType[*session.RefusedError](err)
		if ok {
			fmt.Printf("%s: refused %q\n", tool, refused.Text)
		}
	}
	// Output:
	// before echo {"n":1}
	// before slow {"n":1}
	// slow: refused "Not before 5 p.m."
	// admin: refused ""
}
