package authtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options configure a [Server]. The zero value is a strict, well-behaved one.
type Options struct {
	// Addr is the address to listen on. Defaults to a free port of 127.0.0.1.
	Addr string
	// IssuerPath makes the issuer one with a path, as in "/tenant1"; the
	// endpoints are below it. Defaults to an issuer without a path.
	IssuerPath string
	// Metadata says where the metadata document is served.
	// Defaults to [MetadataOAuth] alone.
	Metadata []MetadataLocation
	// NoMetadata serves no metadata document at all: a 2025-03-26 server
	// with its endpoints at the default paths.
	NoMetadata bool
	// EditMetadata changes the metadata document before it is sent, the issuer
	// and the endpoints included; see also [Server.SetEditMetadata].
	// Defaults to no change.
	EditMetadata func(doc map[string]any)
	// OmitPKCEMethods leaves out code_challenge_methods_supported, as Entra ID
	// and Cognito do. PKCE is verified all the same.
	OmitPKCEMethods bool
	// Iss says how RFC 9207 is followed. Defaults to [IssAdvertised], and with
	// NoMetadata, which cannot advertise, to [IssAbsent].
	Iss IssMode

	// RequireResource refuses authorization and token requests (refresh
	// included) without an RFC 8707 resource parameter.
	RequireResource bool
	// RejectResource refuses requests that have one, as Entra ID v2 does.
	RejectResource bool
	// ScopesSupported is advertised, and scopes outside it are refused.
	// Defaults to nothing advertised and every scope accepted.
	ScopesSupported []string
	// DefaultScopes are granted to a request that names none.
	// Defaults to none.
	DefaultScopes []string
	// RequireScope refuses authorization requests without a scope, and
	// RequireRefreshScope refreshes, as Entra ID does.
	RequireScope, RequireRefreshScope bool
	// Audience takes the resource from the parameter audience and ignores
	// resource, as Auth0 does.
	Audience bool
	// GrantScopes picks what is granted of what was requested.
	// Defaults to all of it.
	GrantScopes func(requested []string) []string
	// OmitScope leaves scope out of token answers.
	OmitScope bool

	// AccessTokenTTL is the life of an access token; see also
	// [Server.SetAccessTokenTTL]. Defaults to one hour.
	AccessTokenTTL time.Duration
	// Leeway is how much longer than that an access token is accepted, as by
	// resource servers that allow for clocks and networks. Defaults to none.
	Leeway time.Duration
	// ExpiresIn says how the life is told to the client.
	// Defaults to [ExpiresInNumber].
	ExpiresIn ExpiresInMode
	// NoRefreshTokens issues access tokens only.
	NoRefreshTokens bool
	// RefreshTokenTTL is how long a refresh token lives that is not used; each
	// token answer states it as refresh_token_expires_in. Defaults to no limit.
	RefreshTokenTTL time.Duration
	// OmitRefreshExpiresIn leaves it out of token answers.
	OmitRefreshExpiresIn bool
	// NoRotation keeps a refresh token valid after use and leaves
	// refresh_token out of the answer to a refresh.
	NoRotation bool
	// OfflineAccess issues a refresh token only where the scope
	// offline_access was granted.
	OfflineAccess bool

	// OfflineAccessType issues a refresh token only where the authorization
	// request had access_type=offline and prompt=consent, as Google does.
	OfflineAccessType bool
	// EditToken changes a token answer before it is sent. Defaults to no change.
	EditToken func(answer map[string]any)

	// NoRegistration offers no RFC 7591 dynamic client registration.
	NoRegistration bool
	// AuthMethods are the supported client authentication methods. Defaults to
	// none, client_secret_basic and client_secret_post; [AuthPrivateKeyJWT] exists, too.
	AuthMethods []string
	// AssignAuthMethod is what dynamic registration assigns whatever the client
	// asked for. Defaults to what was asked for, else client_secret_basic.
	AssignAuthMethod string
	// RegisteredScopesOnly refuses authorization requests of dynamic clients for
	// scopes that the client did not register, as Hydra does.
	RegisteredScopesOnly bool
	// ClientSecretTTL is the life of a registered client's secret.
	// Defaults to unlimited (client_secret_expires_at 0).
	ClientSecretTTL time.Duration
	// Clients are registered from the start; see also [Server.AddClient].
	Clients []Client
	// ClientIDMetadataDocuments accepts https URLs as client_id.
	ClientIDMetadataDocuments bool
	// ClientIDMetadataFetcher fetches and validates those documents (http URLs
	// are then accepted too). Defaults to accepting them unseen.
	ClientIDMetadataFetcher *http.Client
	// UnknownClientJSON shows an unknown client_id at the authorization endpoint
	// as 422 JSON. Defaults to a 400 HTML page. Neither redirects.
	UnknownClientJSON bool

	// DPoP advertises DPoP (RFC 9449), and binds the tokens that are asked for with
	// a proof; see also [Server.RotateNonce].
	DPoP bool
	// SingleUseNonces makes each proof need a nonce of its own, which the answer
	// before brings.
	SingleUseNonces bool
	// AssertionKeys verify assertions of the JWT bearer grant (RFC 7523), as
	// [Server.IdentityKeys] of another server. Defaults to none.
	AssertionKeys jose.JSONWebKeySet
	// IDJAGClient is the client_id in the ID-JAGs that the server issues as an
	// identity provider. Defaults to none.
	IDJAGClient string

	// Consent shows a page with Approve and Deny buttons.
	// Defaults to approving at once.
	Consent bool
	// User is who sits at the browser; see also [Browser]. Defaults to "alice".
	User string
	// OnRefresh is called when a refresh token has been redeemed, or presented
	// once more after that, before the request is answered: with whose token it
	// is. Defaults to nothing.
	OnRefresh func(user string, r *http.Request)
	// Now is the clock; it must not call the server. Defaults to [time.Now].
	Now func() time.Time
	// DiscardRequests keeps counters but no requests, for benchmarks.
	DiscardRequests bool
}

// MetadataLocation is a place where a client may look for the metadata
// document (RFC 8414 section 3, OpenID Connect Discovery 1.0 section 4).
type MetadataLocation int

const (
	// MetadataOAuth is /.well-known/oauth-authorization-server<path>.
	MetadataOAuth MetadataLocation = iota
	// MetadataOIDC is /.well-known/openid-configuration<path>.
	MetadataOIDC
	// MetadataOIDCAppended is <path>/.well-known/openid-configuration.
	MetadataOIDCAppended
)

// IssMode is how the server treats the iss parameter of RFC 9207.
type IssMode int

const (
	// IssAdvertised advertises and sends it.
	IssAdvertised IssMode = iota
	// IssAbsent neither advertises nor sends it.
	IssAbsent
	// IssMissing advertises it but does not send it.
	IssMissing
	// IssWrong advertises it and sends another server's, as in a mix-up attack.
	IssWrong
	// IssUnadvertised sends it though it is not advertised.
	IssUnadvertised
	// IssUnadvertisedWrong sends another server's though it is not advertised.
	IssUnadvertisedWrong
)

// WrongIssuer is the iss value that [IssWrong] and [IssUnadvertisedWrong] send.
const WrongIssuer = "https://attacker.example"

// ExpiresInMode is the form of expires_in in token answers.
type ExpiresInMode int

const (
	// ExpiresInNumber sends seconds as a JSON number.
	ExpiresInNumber ExpiresInMode = iota
	// ExpiresInString sends seconds as a JSON string.
	ExpiresInString
	// ExpiresInOmitted does not send it.
	ExpiresInOmitted
	// ExpiresInZero sends 0 whatever the real life is.
	ExpiresInZero
)

// Client authentication methods (RFC 7591 section 2).
const (
	AuthNone          = "none"
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

func (o Options) withDefaults() (Options, error) {
	if o.IssuerPath != "" && (!strings.HasPrefix(o.IssuerPath, "/") || strings.HasSuffix(o.IssuerPath, "/")) {
		return o, fmt.Errorf("authtest: IssuerPath %q must start and not end with a slash", o.IssuerPath)
	}
	o.Metadata = slices.Clone(o.Metadata)
	if len(o.Metadata) == 0 {
		o.Metadata = []MetadataLocation{MetadataOAuth}
	}
	if o.NoMetadata {
		o.Metadata = nil
		if o.Iss == IssAdvertised {
			o.Iss = IssAbsent
		}
	}
	o.ScopesSupported = slices.Clone(o.ScopesSupported)
	o.DefaultScopes = slices.Clone(o.DefaultScopes)
	o.AuthMethods = slices.Clone(o.AuthMethods)
	if len(o.AuthMethods) == 0 {
		o.AuthMethods = []string{AuthNone, AuthBasic, AuthPost}
	}
	if o.AccessTokenTTL == 0 {
		o.AccessTokenTTL = time.Hour
	}
	if o.User == "" {
		o.User = "alice"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}
