package mcptest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// Options configure a [Server]. The zero value is an open server.
type Options struct {
	// Addr is the address to listen on. Defaults to a free port of 127.0.0.1.
	Addr string
	// Path is that of the MCP endpoint; "/" is the root. Defaults to "/mcp".
	Path string
	// SharedOrigin serves from the origin of Auth, which must be set, instead of
	// an own one: the shape of a 2025-03-26 server, which is its own
	// authorization server. One server can share an origin.
	SharedOrigin bool

	// Stateful keeps sessions (Mcp-Session-Id). The SDK then serves protocol
	// version 2025-11-25 and older. Defaults to stateless, which serves
	// 2026-07-28 as well.
	Stateful bool
	// ProtocolVersions narrows what is served. Defaults to all the SDK knows.
	ProtocolVersions []string
	// JSONResponse answers with application/json; progress notifications are
	// lost then. Defaults to text/event-stream.
	JSONResponse bool
	// ExtraTools adds that many tools named tool_001, tool_002, …
	ExtraTools int
	// PageSize is how many tools a page of tools/list has.
	// Defaults to the SDK's page size.
	PageSize int
	// Configure is called with the SDK's server before it serves, to add tools,
	// prompts or resources. Defaults to nothing.
	Configure func(*mcp.Server)
	// Describe changes the options of the SDK's server, for instance to give
	// instructions or to complete arguments. Defaults to nothing.
	Describe func(*mcp.ServerOptions)
	// Raw answers requests with raw JSON in place of the SDK; see [RawReply].
	// Defaults to the SDK answering all.
	Raw func(method string, params json.RawMessage) *RawReply

	// Auth is the authorization server whose tokens are needed.
	// Defaults to none: the server is open.
	Auth *authtest.Server
	// Verify checks tokens in place of Auth.
	Verify func(token string) (authtest.Info, error)
	// SkipAudienceCheck accepts tokens that were issued for another resource, or
	// for none.
	SkipAudienceCheck bool
	// DPoP asks for tokens that are bound to a key (RFC 9449) in challenges.
	// Such tokens are refused without a proof, whatever the options are.
	DPoP bool
	// LazyAuth answers everything but tools/call without a token.
	LazyAuth bool
	// RequiredScopes are needed for every request that needs a token.
	RequiredScopes []string
	// ToolScopes are needed to call a tool. Defaults to "admin" for the tool
	// of that name.
	ToolScopes map[string][]string
	// AlwaysInsufficientScope answers every tools/call as if a scope were
	// missing, whatever the token has.
	AlwaysInsufficientScope bool
	// Challenge is what WWW-Authenticate says.
	Challenge Challenge
	// Metadata is the RFC 9728 document; see also [Server.SetMetadata].
	Metadata Metadata

	// DiscardRequests keeps counters but no requests, for benchmarks.
	DiscardRequests bool
}

// Challenge shapes the WWW-Authenticate header of 401 and 403 answers. The zero
// value has resource_metadata, and error where RFC 6750 asks for it.
type Challenge struct {
	// Omit sends no header at all.
	Omit bool
	// OmitResourceMetadata leaves out resource_metadata.
	OmitResourceMetadata bool
	// ResourceMetadata replaces its value. Defaults to the real URL.
	ResourceMetadata string
	// Scope is the scope parameter of 401 answers.
	// Defaults to [Options.RequiredScopes].
	Scope string
	// Error replaces the error parameter of 401 answers. Defaults to
	// invalid_token where a token was sent, else nothing.
	Error string
	// Raw replaces the whole header value.
	Raw string
}

// Metadata shapes the protected resource metadata (RFC 9728). The zero value is
// a document at the path-specific well-known URL.
type Metadata struct {
	// Absent serves no document.
	Absent bool
	// Locations says where the document is. Defaults to [MetadataAtPath].
	Locations []MetadataLocation
	// CustomPath is where [MetadataAtCustom] is, on this server's origin.
	CustomPath string
	// Resource replaces the resource of the document. Defaults to the MCP
	// endpoint's URL, and at [MetadataAtRoot] to the origin, as section 3.3 asks.
	Resource string
	// AuthorizationServers replaces the list.
	// Defaults to the issuer of [Options.Auth].
	AuthorizationServers []string
	// ScopesSupported is left out when empty.
	ScopesSupported []string
	// Raw replaces the whole document, which then need not be valid.
	Raw string
	// Status replaces the status of the answer. Defaults to 200.
	Status int
}

// MetadataLocation is a place for the protected resource metadata.
type MetadataLocation int

const (
	// MetadataAtPath is /.well-known/oauth-protected-resource<path>.
	MetadataAtPath MetadataLocation = iota
	// MetadataAtRoot is /.well-known/oauth-protected-resource.
	MetadataAtRoot
	// MetadataAtCustom is [Metadata.CustomPath], known from the challenge alone.
	MetadataAtCustom
)

func (o Options) withDefaults() (Options, error) {
	if o.Path == "" {
		o.Path = "/mcp"
	}
	if !strings.HasPrefix(o.Path, "/") {
		return o, fmt.Errorf("mcptest: Path %q must start with a slash", o.Path)
	}
	if o.SharedOrigin && o.Auth == nil {
		return o, fmt.Errorf("mcptest: SharedOrigin needs Auth")
	}
	if o.Verify == nil && o.Auth != nil {
		o.Verify = o.Auth.Verify
	}
	if o.ToolScopes == nil {
		o.ToolScopes = map[string][]string{"admin": {"admin"}}
	}
	o.ToolScopes = maps.Clone(o.ToolScopes)
	o.RequiredScopes = slices.Clone(o.RequiredScopes)
	o.ProtocolVersions = slices.Clone(o.ProtocolVersions)
	o.Metadata = o.Metadata.clone()
	return o, nil
}

func (m Metadata) clone() Metadata {
	m.Locations = slices.Clone(m.Locations)
	m.AuthorizationServers = slices.Clone(m.AuthorizationServers)
	m.ScopesSupported = slices.Clone(m.ScopesSupported)
	if len(m.Locations) == 0 {
		m.Locations = []MetadataLocation{MetadataAtPath}
	}
	return m
}
