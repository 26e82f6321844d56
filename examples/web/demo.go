package main

import (
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// preset is a demo server, as the page offers it.
type preset struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	Hint string `json:"hint"`
}

// demo is what other organizations run in real life: an authorization server
// with a consent page, and MCP servers.
type demo struct {
	presets []preset
	closers []func()
}

func startDemo() (_ *demo, err error) {
	d := new(demo)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	auth, err := authtest.Start(authtest.Options{
		Consent:         true,
		ScopesSupported: []string{"tools", "publish", "offline_access"},
	})
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, auth.Close)
	bank, err := startBank()
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, bank.close)
	for _, s := range []struct {
		name, hint string
		auth       *authtest.Server
		tools      []tool
		keep       []string // of mcptest's own tools
	}{
		{"Open", "No sign-in", nil, []tool{createEvent, bookTable, bank.tool(), drawChart, playTone, readManual}, []string{"echo", "fail"}},
		{"OAuth", "One sign-in", auth, []tool{createEvent, drawChart}, []string{"whoami", "echo"}},
		{"Step-up", "Asks for more", auth, []tool{publish}, []string{"whoami"}},
		{"Slow", "Long calls", auth, []tool{buildReport, bookTable}, []string{"whoami"}}, // also older, and with sessions
	} {
		options := mcptest.Options{
			Auth:      s.auth,
			Stateful:  s.name == "Slow",
			Challenge: mcptest.Challenge{Scope: "tools"},
			ToolScopes: map[string][]string{
				publish.Name: {"publish"},
			},
			Configure: func(server *mcp.Server) {
				server.RemoveTools(slices.DeleteFunc(mcptest.Tools(), func(name string) bool { return slices.Contains(s.keep, name) })...)
				for _, t := range s.tools {
					server.AddTool(&t.Tool, t.call)
				}
				if s.auth == nil {
					offer(server)
				}
			},
		}
		if s.auth == nil {
			options.Describe = describe
		}
		server, err := mcptest.Start(options)
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, server.Close)
		d.presets = append(d.presets, preset{s.name, server.URL(), s.hint})
	}
	return d, nil
}

// close stops everything, in the opposite order of starting.
func (d *demo) close() {
	for _, stop := range slices.Backward(d.closers) {
		stop()
	}
}
