package session_test

import (
	"context"
	"fmt"
	"log"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// A model gets the tools of all sessions of a user, and calls one by its name.
func ExampleManager_Tools() {
	mail, files := mcptest.New(mcptest.Options{}), mcptest.New(mcptest.Options{})
	defer mail.Close()
	defer files.Close()
	_, protected, cfg, stop := exampleServers()
	defer stop()
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	for name, url := range map[string]string{"Mail": mail.URL(), "Files": files.URL(), "Calendar": protected.URL()} {
		_, _ = m.Connect(ctx, caller, session.ConnectParams{ServerURL: url, ServerName: name, CallbackURL: "https://app.example/callback"})
	}
	all, err := m.Tools(ctx, caller)
	if err != nil {
		log.Fatal(err)
	}
	names := make(map[string]bool)
	for _, t := range all.Tools {
		names[t.Name] = true
	}
	fmt.Println(len(all.Tools), "tools,", len(names), "names")
	fmt.Println("needs its user:", all.NeedUser[0].ServerName)

	info, tool, err := m.ResolveTool(ctx, caller, all.Tools[0].Name)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tool, info.Key == all.Tools[0].Session.Key)
	// Output:
	// 16 tools, 16 names
	// needs its user: Calendar
	// add true
}

// A user deletes the account.
func ExampleManager_RemoveOwner() {
	mcp := mcptest.New(mcptest.Options{})
	defer mcp.Close()
	_, _, cfg, stop := exampleServers()
	defer stop()
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	for range 2 {
		if _, err := m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), CallbackURL: "https://app.example/callback"}); err != nil {
			log.Fatal(err)
		}
	}
	infos, _ := m.Sessions(ctx, caller)
	fmt.Println(len(infos))
	fmt.Println(m.RemoveOwner(ctx, caller.Owner))
	infos, _ = m.Sessions(ctx, caller)
	fmt.Println(len(infos))
	// Output:
	// 2
	// <nil>
	// 0
}
