// Command conformance is the client that the official MCP conformance suite
// puts under test. The suite runs it once per scenario with the URL of a server
// as its argument and the scenario's name in MCP_CONFORMANCE_SCENARIO.
//
// Scenarios with authorization go through the library the way a host uses it,
// on two replicas; see hosts.go. The others use an MCPOAuthClient directly.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	scenario := os.Getenv("MCP_CONFORMANCE_SCENARIO")
	if len(os.Args) != 2 || scenario == "" {
		log.Fatal("usage: MCP_CONFORMANCE_SCENARIO=name conformance <server-url>")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, scenario, os.Args[1]); err != nil {
		log.Fatalf("%s: %v", scenario, err)
	}
}

func run(ctx context.Context, scenario, serverURL string) error {
	settings, err := readSettings()
	if err != nil {
		return err
	}
	if strings.HasPrefix(scenario, "auth/") {
		return runHosts(ctx, serverURL, settings)
	}
	direct, ok := directScenarios[scenario]
	if !ok {
		return fmt.Errorf("no such scenario here")
	}
	return direct(ctx, serverURL, settings)
}

// settings is what the suite tells a client beside the server's URL.
type settings struct {
	ClientID     string     `json:"client_id"`
	ClientSecret string     `json:"client_secret"`
	ToolCalls    []toolCall `json:"toolCalls"`
	// Of the scenarios with other grants.
	PrivateKey       string `json:"private_key_pem"`
	IDPClientID      string `json:"idp_client_id"`
	IDPIDToken       string `json:"idp_id_token"`
	IDPTokenEndpoint string `json:"idp_token_endpoint"`
	WorkloadJWT      string `json:"valid_jwt"`
}

type toolCall struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

func readSettings() (s settings, err error) {
	if raw := os.Getenv("MCP_CONFORMANCE_CONTEXT"); raw != "" {
		if err := json.Unmarshal([]byte(raw), &s); err != nil {
			return s, fmt.Errorf("MCP_CONFORMANCE_CONTEXT: %w", err)
		}
	}
	return s, nil
}
