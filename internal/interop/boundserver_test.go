package interop_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"
)

// boundServer is an MCP server, made with the SDK, that takes only tokens that
// are bound to a key (RFC 9449). It verifies proofs with the standard library
// alone, so that no code of this project, and no package that it uses, judges its
// own proofs. Proofs need a nonce, which changes.
type boundServer struct {
	url   string
	check verify
	sdk   http.Handler

	mu      sync.Mutex // guards the fields below
	jtis    map[string]bool
	proofs  int // that were accepted
	nonces  int // requests that were refused for the lack of a nonce
	bearers int // requests with the scheme Bearer
	ended   int // MCP sessions that the client ended
	rejects int // requests to refuse whatever they carry
}

// proofsPerNonce is how many proofs have the same nonce. The one before is
// accepted as well, as servers do.
const proofsPerNonce = 10

func newBoundServer(t *testing.T, issuer string, check verify) *boundServer {
	t.Helper()
	b := &boundServer{check: check, jtis: make(map[string]bool)}
	server := mcp.NewServer(&mcp.Implementation{Name: "bound", Version: "1.0.0"}, nil)
	say := func(name string, text func(*mcp.CallToolRequest) string) {
		server.AddTool(&mcp.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)}, func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text(req)}}}, nil
		})
	}
	say("whoami", func(req *mcp.CallToolRequest) string { return req.Extra.TokenInfo.UserID })
	say("admin", func(*mcp.CallToolRequest) string { return "done as admin" })
	b.sdk = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)

	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", b.serve)
	listener := httptest.NewServer(mux)
	b.url = listener.URL + "/mcp"
	mux.Handle("/.well-known/oauth-protected-resource/mcp", auth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
		Resource: b.url, AuthorizationServers: []string{issuer}, DPOPSigningAlgValuesSupported: []string{"ES256"}, DPOPBoundAccessTokensRequired: true,
	}))
	t.Cleanup(func() {
		listener.CloseClientConnections() // streams that the server holds open
		listener.Close()
	})
	return b
}

// rejectNext refuses the next request.
func (b *boundServer) rejectNext(string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejects++
}

// counts returns the accepted proofs, the requests without a nonce, the requests
// with the scheme Bearer, and the sessions that were ended.
func (b *boundServer) counts() (proofs, nonces, bearers, ended int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proofs, b.nonces, b.bearers, b.ended
}

var errNonce = errors.New("the proof has no valid nonce")

// serve checks token and proof, and hands over to the SDK.
func (b *boundServer) serve(w http.ResponseWriter, r *http.Request) {
	info, err := b.authorize(r)
	w.Header().Set("DPoP-Nonce", b.nonce(0))
	switch {
	case errors.Is(err, errNonce):
		b.refuse(w, http.StatusUnauthorized, "use_dpop_nonce", baseScope)
		return
	case err != nil:
		b.refuse(w, http.StatusUnauthorized, "invalid_token", baseScope)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	needed := baseScope
	if bytes.Contains(body, []byte(`"tools/call"`)) && bytes.Contains(body, []byte(`"admin"`)) {
		needed = adminScope
	}
	if !slices.Contains(info.Scopes, needed) {
		b.refuse(w, http.StatusForbidden, "insufficient_scope", needed)
		return
	}
	if r.Method == http.MethodDelete {
		b.mu.Lock()
		b.ended++
		b.mu.Unlock()
	}
	r.Header.Set("Authorization", "Bearer verified") // the scheme that the SDK's middleware knows
	verified := func(context.Context, string, *http.Request) (*auth.TokenInfo, error) { return info, nil }
	auth.RequireBearerToken(verified, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(b.sdk).ServeHTTP(w, r)
}

func (b *boundServer) refuse(w http.ResponseWriter, status int, code, scope string) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`DPoP algs="ES256", error=%q, scope=%q`, code, scope))
	http.Error(w, code, status)
}

// nonce returns the present nonce, or one before it.
func (b *boundServer) nonce(before int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("nonce-%d", b.proofs/proofsPerNonce-before)
}

// authorize checks the token of a request, and that its proof is of the key that
// the token is bound to.
func (b *boundServer) authorize(r *http.Request) (*auth.TokenInfo, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	b.mu.Lock()
	rejected := b.rejects > 0 && token != ""
	if rejected {
		b.rejects--
	}
	if scheme == "Bearer" {
		b.bearers++
	}
	b.mu.Unlock()
	if rejected || scheme != "DPoP" {
		return nil, errors.New("rejected, or no bound token")
	}
	thumbprint, err := b.prove(r, token)
	if err != nil {
		return nil, err
	}
	info, err := b.check(token)
	switch {
	case err != nil:
		return nil, err
	case info.Thumbprint == "" || info.Thumbprint != thumbprint:
		return nil, errors.New("the token is bound to another key, or to none")
	case info.Resource != b.url:
		return nil, fmt.Errorf("the token is for %q", info.Resource)
	}
	user := info.User
	if user == "" {
		user = info.ClientID
	}
	return &auth.TokenInfo{UserID: user, Scopes: info.Scopes}, nil
}

// publicKey is a key of RFC 7517. The order of the members is that of RFC 7638.
type publicKey struct {
	Curve string `json:"crv"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// prove checks the proof of a request (RFC 9449 section 4.3) and returns the
// thumbprint of its key.
func (b *boundServer) prove(r *http.Request, token string) (thumbprint string, err error) {
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		return "", errors.New("not exactly one proof")
	}
	parts := strings.Split(proofs[0], ".")
	if len(parts) != 3 {
		return "", errors.New("the proof is no JWT")
	}
	var header struct {
		Type string                     `json:"typ"`
		Alg  string                     `json:"alg"`
		Key  map[string]json.RawMessage `json:"jwk"`
	}
	var claims struct {
		ID        string `json:"jti"`
		Method    string `json:"htm"`
		URL       string `json:"htu"`
		IssuedAt  int64  `json:"iat"`
		TokenHash string `json:"ath"`
		Nonce     string `json:"nonce"`
	}
	if err := errors.Join(decodePart(parts[0], &header), decodePart(parts[1], &claims)); err != nil {
		return "", err
	}
	raw, err := json.Marshal(header.Key)
	if err != nil {
		return "", err
	}
	var key publicKey
	if err := json.Unmarshal(raw, &key); err != nil {
		return "", err
	}
	if header.Type != "dpop+jwt" || header.Alg != "ES256" || header.Key["d"] != nil || !signedBy(key, parts) {
		return "", errors.New("the proof has another type or algorithm, shows a private key, or is not signed by its key")
	}
	age := time.Since(time.Unix(claims.IssuedAt, 0)).Abs()
	if claims.Method != r.Method || claims.URL != b.url || claims.TokenHash != hash(token) || age > time.Minute {
		return "", errors.New("the proof is of another request, or too old")
	}
	current, previous := b.nonce(0), b.nonce(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if claims.ID == "" || b.jtis[claims.ID] {
		return "", errors.New("the proof was used before")
	}
	b.jtis[claims.ID] = true
	if claims.Nonce != current && claims.Nonce != previous {
		b.nonces++
		return "", errNonce
	}
	b.proofs++
	canonical, err := json.Marshal(key)
	return hash(string(canonical)), err
}

func decodePart(part string, out any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// signedBy verifies an ES256 signature (RFC 7518 section 3.4).
func signedBy(key publicKey, parts []string) bool {
	x, errX := base64.RawURLEncoding.DecodeString(key.X)
	y, errY := base64.RawURLEncoding.DecodeString(key.Y)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if errX != nil || errY != nil || err != nil || key.Type != "EC" || key.Curve != "P-256" || len(signature) != 64 {
		return false
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

// The server's own checks accept a good proof once, and refuse others: otherwise
// the journeys prove nothing.
func TestBoundServerRefuses(t *testing.T) {
	t.Parallel()
	const example = `{"crv":"P-256","kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}`
	require.Equal(t, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", hash(example), "RFC 9449 section 6.1")
	b := newBoundServer(t, "https://as.example", nil)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := private.PublicKey.Bytes()
	require.NoError(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	header := fmt.Sprintf(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, encode(point[1:33]), encode(point[33:]))
	sign := func(id, method, target, token, nonce string) string {
		claims := fmt.Sprintf(`{"jti":%q,"htm":%q,"htu":%q,"ath":%q,"nonce":%q,"iat":%d}`, id, method, target, hash(token), nonce, time.Now().Unix())
		signed := encode([]byte(header)) + "." + encode([]byte(claims))
		sum := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		require.NoError(t, err)
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signed + "." + encode(signature)
	}
	prove := func(proofs ...string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, nil)
		require.NoError(t, err)
		req.Header["Dpop"] = proofs
		_, err = b.prove(req, "token")
		return err
	}
	good := sign("1", "POST", b.url, "token", b.nonce(0))
	require.NoError(t, prove(good))
	require.Error(t, prove(good), "used before")
	require.Error(t, prove(), "none")
	require.Error(t, prove(good, sign("2", "POST", b.url, "token", b.nonce(0))), "two")
	require.Error(t, prove(sign("3", "GET", b.url, "token", b.nonce(0))), "method")
	require.Error(t, prove(sign("4", "POST", b.url+"/", "token", b.nonce(0))), "URL")
	require.Error(t, prove(sign("5", "POST", b.url, "another", b.nonce(0))), "token")
	require.ErrorIs(t, prove(sign("6", "POST", b.url, "token", "")), errNonce)
	forged := sign("7", "POST", b.url, "token", b.nonce(0))
	require.Error(t, prove(forged[:strings.LastIndex(forged, ".")]+good[strings.LastIndex(good, "."):]), "signature")
}
