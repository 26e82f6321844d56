package oauthclient_test

import (
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// knownServer is one row of docs/servers.md: a fake that deviates as the server
// does, and the policy that it needs.
type knownServer struct {
	name   string
	known  string // the URL that KnownServers is given; empty where no preset is needed
	change func(p *oauthclient.ServerPolicy, serverURL string)
	as     authtest.Options
	mcp    mcptest.Options
	strict string // what fails with the strict policy: "" for nothing
}

func editIssuer(issuer string) func(map[string]any) {
	return func(doc map[string]any) { doc["issuer"] = issuer }
}

// byHand makes a server without dynamic registration.
func byHand(o authtest.Options) authtest.Options {
	o.NoRegistration = true
	o.Clients = []authtest.Client{{ID: "by-hand", Secret: "secret", RedirectURIs: []string{callbackURL}}}
	return o
}

// quiet is an MCP server that names no scopes.
var quiet = mcptest.Options{RequiredScopes: []string{"s"}, Challenge: mcptest.Challenge{Raw: `Bearer realm="mcp"`}}

var knownServers = []knownServer{
	{
		name: "Microsoft Entra ID", known: "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
		change: func(p *oauthclient.ServerPolicy, _ string) { p.Scopes = []string{"s", "offline_access"} },
		as: byHand(authtest.Options{Iss: authtest.IssAbsent, RejectResource: true, OmitPKCEMethods: true, RequireScope: true, RequireRefreshScope: true, OfflineAccess: true,
			EditMetadata: editIssuer("https://login.microsoftonline.com/{tenantid}/v2.0")}),
		mcp: mcptest.Options{SkipAudienceCheck: true, RequiredScopes: []string{"s"}}, strict: "connect",
	},
	{
		name: "Google", known: "https://gmailmcp.googleapis.com/mcp/v1",
		as:     byHand(authtest.Options{Iss: authtest.IssAbsent, OfflineAccessType: true, NoRotation: true}),
		strict: "refresh",
	},
	{
		name: "Auth0, without the resource parameter compatibility profile",
		change: func(p *oauthclient.ServerPolicy, serverURL string) {
			p.AuthorizationParams = url.Values{"audience": {serverURL}}
		},
		as: authtest.Options{Audience: true}, strict: "call",
	},
	{name: "Auth0, with the profile", as: authtest.Options{RequireResource: true}},
	{
		name: "Okta", as: byHand(authtest.Options{Iss: authtest.IssAbsent, RequireScope: true, OfflineAccess: true, ScopesSupported: []string{"s", "offline_access"}}),
		mcp: quiet, change: func(p *oauthclient.ServerPolicy, _ string) { p.Scopes = []string{"s", "offline_access"} }, strict: "call",
	},
	{
		name: "Amazon Cognito", known: "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Example",
		as: byHand(authtest.Options{Iss: authtest.IssAbsent, OmitPKCEMethods: true, EditMetadata: func(doc map[string]any) {
			u, _ := url.Parse(doc["authorization_endpoint"].(string))
			doc["authorization_endpoint"] = "https://shop.auth.us-east-1.amazoncognito.com" + u.Path
		}}), strict: "connect",
	},
	{
		name: "Slack", known: "https://mcp.slack.com/mcp",
		as: byHand(authtest.Options{Iss: authtest.IssAbsent, EditMetadata: editIssuer("https://slack.com"), EditToken: func(answer map[string]any) {
			nested := map[string]any{"id": "U1", "access_token": answer["access_token"], "refresh_token": answer["refresh_token"], "token_type": "user"}
			delete(answer, "access_token")
			delete(answer, "refresh_token")
			answer["ok"], answer["authed_user"] = true, nested
		}}), strict: "connect",
	},
	{
		name: "GitHub", as: byHand(authtest.Options{Iss: authtest.IssAbsent, EditToken: func(answer map[string]any) {
			answer["scope"], answer["token_type"] = "repo,user", "bearer"
		}}),
	},
	{
		name: "GitLab", known: "https://gitlab.com/api/v4/mcp",
		as:     authtest.Options{Iss: authtest.IssAbsent, RequireScope: true, ScopesSupported: []string{"mcp"}},
		mcp:    mcptest.Options{RequiredScopes: []string{"mcp"}, Challenge: mcptest.Challenge{Raw: "Bearer"}},
		strict: "authorize",
	},
	{
		name: "Atlassian", known: "https://mcp.atlassian.com/v1/mcp/authv2",
		as: authtest.Options{Iss: authtest.IssAbsent, EditMetadata: editIssuer("https://auth.atlassian.com")}, strict: "connect",
	},
	{
		name: "Atlassian, first endpoint", known: "https://mcp.atlassian.com/v1/mcp",
		as:  authtest.Options{Iss: authtest.IssAbsent, EditMetadata: editIssuer("https://cf.mcp.atlassian.com")},
		mcp: mcptest.Options{SharedOrigin: true, Metadata: mcptest.Metadata{Absent: true}}, strict: "connect",
	},
	{
		name: "Salesforce", known: "https://api.salesforce.com/platform/mcp/v1/platform/sobject-all",
		as:     byHand(authtest.Options{Iss: authtest.IssAbsent, RequireScope: true, ScopesSupported: []string{"mcp_api", "refresh_token"}}),
		mcp:    mcptest.Options{RequiredScopes: []string{"mcp_api"}, Challenge: mcptest.Challenge{Raw: "Bearer"}},
		strict: "authorize",
	},
	{name: "workers-oauth-provider", as: authtest.Options{Iss: authtest.IssAbsent}},
	{
		name: "workers-oauth-provider, resource set to the origin", as: authtest.Options{Iss: authtest.IssAbsent},
		mcp:    mcptest.Options{Metadata: mcptest.Metadata{Resource: "%ORIGIN%"}},
		change: func(p *oauthclient.ServerPolicy, _ string) { p.AllowParentResource = true }, strict: "connect",
	},
}

// journey goes from connecting to the call after the first token has ended, and
// returns the step that fails.
func (k knownServer) journey(t *testing.T, p func(serverURL string) oauthclient.ServerPolicy) (failed string, err error) {
	w := newWorld(t, k.as, k.mcp)
	if k.mcp.Metadata.Resource == "%ORIGIN%" {
		w.mcp.SetMetadata(mcptest.Metadata{Resource: w.mcp.Origin()})
	}
	c := w.client(policy(p(w.mcp.URL())), func(cfg *oauthclient.Config) {
		for _, client := range k.as.Clients {
			cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{ServerURL: w.mcp.URL(), ClientID: client.ID, ClientSecret: oauthclient.NewSecret(client.Secret)}}
		}
	})
	err = c.Connect(t.Context())
	required, ok := err.(*oauthclient.AuthorizationRequiredError)
	if !ok {
		return "connect", err
	}
	u, err := url.Parse(required.AuthURL)
	require.NoError(t, err)
	u.Scheme, u.Host = "http", strings.TrimPrefix(w.as.URL(), "http://")
	callback, err := w.as.Approve(t.Context(), u.String())
	require.NoError(t, err)
	resp := parseCallback(t, callback)
	if err := c.FinishAuth(t.Context(), resp); resp.Error != "" || err != nil {
		return "authorize", err
	}
	if err := w.call(c); err != nil {
		return "call", err
	}
	w.clock.Advance(61 * time.Minute)
	if err := w.call(c); err != nil {
		return "refresh", err
	}
	return "", nil
}

// Each server works for longer than a token does, with the policy that
// docs/servers.md has for it, and where a policy is needed it is needed.
func TestKnownServers(t *testing.T) {
	t.Parallel()
	for _, k := range knownServers {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			failed, err := k.journey(t, func(string) oauthclient.ServerPolicy { return oauthclient.ServerPolicy{} })
			require.Equal(t, k.strict, failed, "strict: %v", err)
			failed, err = k.journey(t, func(serverURL string) oauthclient.ServerPolicy {
				p := oauthclient.KnownServers(k.known)
				if k.change != nil {
					k.change(&p, serverURL)
				}
				return p
			})
			require.Empty(t, failed, "%v", err)
		})
	}
}

// A preset applies to its own server only. Another server whose URL contains that
// server's name gets the strict policy.
func TestKnownServers_OthersAreStrict(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		"", "nonsense", "https://mcp.example/mcp", "http://mcp.slack.com/mcp", "https://mcp.slack.com:8443/mcp", "https://mcp.slack.com.attacker.example/mcp",
		"https://xmcp.slack.com/mcp", "https://mcp.slack.com@attacker.example/", "https://attacker.example/mcp.slack.com", "https://gitlab.com/api/v4/mcpx",
		"https://gitlab.com/", "https://cognito-idp.bucket.s3.amazonaws.com/", "https://googleapis.com/", "https://evil.x.googleapis.com.attacker.example/",
	} {
		require.Equal(t, oauthclient.ServerPolicy{}, oauthclient.KnownServers(u), u)
	}
	for _, u := range []string{"HTTPS://MCP.Slack.com:443/mcp", "https://slack.com", "https://slack.com/", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x", "https://gitlab.com/api/v4/mcp/"} {
		require.NotEqual(t, oauthclient.ServerPolicy{}, oauthclient.KnownServers(u), u)
	}
	a := oauthclient.KnownServers("https://accounts.google.com")
	a.AuthorizationParams.Set("access_type", "online")
	require.Equal(t, "offline", oauthclient.KnownServers("https://accounts.google.com").AuthorizationParams.Get("access_type"), "a caller changes its own")
}

// The table of docs/servers.md has a row for each fake.
func TestKnownServers_AreDocumented(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/servers.md")
	require.NoError(t, err)
	for _, k := range knownServers {
		require.Contains(t, string(document), "\n| "+k.name+" | ")
	}
	_, table, _ := strings.Cut(string(document), "## The table")
	table, _, _ = strings.Cut(table, "\n## ")
	require.Equal(t, len(knownServers)+1, strings.Count(table, "\n| "), "one row each, and the head")
}
