package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// Handler serves the endpoints. As an [http.Handler] it serves all of them
// under Config.Prefix; its methods serve one each, at any path, for a host that
// routes for itself, and are just as well protected.
//
// A Handler is safe for concurrent use. It holds no state beyond the counters
// of the rate limits, and those are shared where the store counts: all replicas
// are equal.
//
// # Protections
//
// Every answer is no-referrer and nosniff, and may not be framed. All but the
// client metadata document, the key set and the static files are no-store. POSTs from
// pages of other origins are refused ([http.CrossOriginProtection]), and so is what is
// not JSON, except that the callback also takes a form. Queries and bodies are bounded,
// and so is the time that a body takes. The host's [http.Server] bounds the header with
// ReadHeaderTimeout and MaxHeaderBytes. It must have no WriteTimeout, which would end
// event streams; those have Config.WriteTimeout.
//
// An authorization belongs to the browser in which it was begun: connect sets
// an HttpOnly, SameSite=Lax cookie with a random value (named __Host-mcpoauth-…
// where PublicURL is https), and the callback is refused unless the browser
// has it and Config.Identify, if any, names the owner who began. So an attacker
// cannot get a victim to authorize the attacker's session. A page on another
// site, which gets no cookie, sends a random value of its own in the header
// Mcpoauth-Binding, and posts the authorization response with it. The callback must be
// reachable without a header or a SameSite=Strict cookie of the host's, because the
// browser comes from another site.
//
// Another owner's session is answered exactly like one that does not exist, byte
// for byte, and all that is wrong with a callback has one answer too. The callback URL of
// a connect is compared with the host's configuration, byte for byte. Where PublicURL is
// http, on loopback, requests to another Host get public files only: a page of an
// attacker's could have its own name resolve to loopback.
//
// Answers leave out details that the caller must not know. The log has them, under
// the ID in X-Request-Id. Neither answers nor log have secrets.
//
// # Limits
//
// Each caller has three budgets a minute, for connects, callbacks and all the
// rest: an owner, or the address of a client without a login, and so
// a flood without a login uses up no user's budget. Requests are counted after
// Identify and before their body is read. If the store counts (see
// [session.Manager.Counter]), replicas share the budgets: each reserves a portion
// of a budget in the store before it uses that portion, so together they never
// allow more than the limit. While the store is away each replica counts alone. Memory
// is bounded: of more than 100,000 callers in a minute the later ones share 1,024
// budgets, and no flood of addresses resets a count or takes an owner's budget.
// Answers say what is left in X-RateLimit-Limit, -Remaining and -Reset, and at
// the limit Retry-After.
//
// Behind a proxy, Config.TrustedProxies has its network: X-Forwarded-For is read from
// the right, as far as those networks wrote it. Without it the proxy counts as one
// client, and the log says so. No other forwarded header is looked at.
type Handler struct {
	cfg         Config
	manager     manager
	callbackURL string
	origins     []string // of PublicURL, then Config.TrustedOrigins
	crossOrigin *http.CrossOriginProtection
	cookie      http.Cookie // of the browser binding, without a value
	connects    *limiter
	callbacks   *limiter
	requests    *limiter // all others
	inFlight    *inFlight
	failures    failureCount
	host        string // the only origin to be sent to, if PublicURL is http; else empty
	proxyNote   sync.Once
	routes      map[string]http.HandlerFunc
	openAPI     file
	observer    oauthclient.Observer // or nil
	buffers     sync.Pool            // of *bytes.Buffer
	shutdowns   shutdowns
}

// manager is what a Handler uses of a [session.Manager].
type manager interface {
	Connect(context.Context, session.Caller, session.ConnectParams) (session.Info, error)
	FinishAuth(context.Context, session.Caller, string, oauthclient.AuthorizationResponse) (session.Info, error)
	CallbackRefused(context.Context, oauthclient.AuthorizationResponse)
	RemoveClient(context.Context, session.Caller, string) error
	ListTools(context.Context, session.Caller, string) ([]*oauthclient.Tool, error)
	CallToolAsking(ctx context.Context, caller session.Caller, sessionID, name string, args any, ask session.Ask, onProgress func(mcp.ProgressNotificationParams)) (*oauthclient.CallToolResult, error)
	ListPrompts(context.Context, session.Caller, string) ([]oauthclient.Result[mcp.Prompt], error)
	AnswerInput(ctx context.Context, caller session.Caller, sessionID, inputID string, inputs json.RawMessage) error
	GetPromptAsking(context.Context, session.Caller, string, *mcp.GetPromptParams, session.Ask) (*oauthclient.Result[mcp.GetPromptResult], error)
	ListResources(context.Context, session.Caller, string) ([]oauthclient.Result[mcp.Resource], error)
	ListResourceTemplates(context.Context, session.Caller, string) ([]oauthclient.Result[mcp.ResourceTemplate], error)
	ReadResourceAsking(context.Context, session.Caller, string, *mcp.ReadResourceParams, session.Ask) (*oauthclient.Result[mcp.ReadResourceResult], error)
	ListPage(ctx context.Context, caller session.Caller, sessionID string, list oauthclient.List, cursor string) (oauthclient.Page, error)
	Complete(context.Context, session.Caller, string, *mcp.CompleteParams) (*oauthclient.Result[mcp.CompleteResult], error)
	Server(context.Context, session.Caller, string) (oauthclient.ServerDescription, error)
	WaitStatus(ctx context.Context, caller session.Caller, sessionID, attemptID string, until func(session.Info, session.AttemptInfo) bool) error
	Sessions(context.Context, session.Caller) ([]session.Info, error)
	ClientMetadata(callbackURLs ...string) (clientID string, metadata oauthex.ClientRegistrationMetadata)
	ClientKeySet() ([]byte, error)
	Counter() store.Counter
	Observer() oauthclient.Observer
	Describe(sessionID string) (key, server string)
}

// New validates cfg and returns a Handler. It does no I/O. The error, if any,
// names every mistake in cfg. The manager stays the caller's to close, after
// the server that serves the Handler has shut down.
func New(manager *session.Manager, cfg Config) (*Handler, error) {
	if manager == nil {
		_, err := cfg.withDefaults()
		return nil, errors.Join(errors.New("httpapi: New: the manager is nil"), err)
	}
	return newHandler(manager, cfg)
}

// newHandler is New for any manager.
func newHandler(manager manager, cfg Config) (*Handler, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, err // validated above
	}
	h := &Handler{
		cfg: cfg, manager: manager,
		callbackURL: cfg.PublicURL + cfg.Prefix + routeCallback,
		origins:     append([]string{originOf(public)}, cfg.TrustedOrigins...),
		crossOrigin: http.NewCrossOriginProtection(),
		cookie:      bindingCookie(public.Scheme == "https"),
		connects:    newLimiter("connect", cfg.ConnectsPerMinute, manager.Counter()),
		callbacks:   newLimiter("callback", cfg.CallbacksPerMinute, manager.Counter()),
		requests:    newLimiter("request", cfg.RequestsPerMinute, manager.Counter()),
		inFlight:    newInFlight(cfg.MaxRequestsInFlight),
		host:        onlyHost(public),
		observer:    manager.Observer(),
		buffers:     sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
	for _, origin := range h.origins {
		if err := h.crossOrigin.AddTrustedOrigin(origin); err != nil {
			return nil, err // validated above
		}
	}
	if h.openAPI, err = openAPIFor(cfg.PublicURL + cfg.Prefix); err != nil {
		return nil, err // a mistake in openapi.json
	}
	h.routes = make(map[string]http.HandlerFunc)
	for route, serve := range map[string]http.HandlerFunc{
		routeConnect: h.Connect, routeCallback: h.Callback, routeDisconnect: h.Disconnect,
		routeStatus: h.Status, routeSessions: h.Sessions, routeListTools: h.ListTools,
		routeListPrompts: h.ListPrompts, routeGetPrompt: h.GetPrompt, routeListResources: h.ListResources,
		routeResourceTemplates: h.ListResourceTemplates, routeReadResource: h.ReadResource,
		routeCompletion: h.Complete, routeServer: h.Server,
		routeCallTool: h.CallTool, routeAnswerInput: h.AnswerInput, routeClientMetadata: h.ClientMetadata,
		routeKeySet: h.KeySet, routeScript: h.Script, routeOpenAPI: h.OpenAPI,
	} {
		h.routes[public.Path+cfg.Prefix+route] = serve
		h.routes[cfg.Prefix+route] = serve // a proxy may have taken the path of PublicURL off
	}
	return h, nil
}

// originOf returns a URL's origin as browsers write it.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return u.Scheme + "://" + host
}

// CallbackURL returns the redirect URI of this host, to register with
// authorization servers where clients are registered by hand.
func (h *Handler) CallbackURL() string { return h.callbackURL }

// ServeHTTP implements [http.Handler]. Paths are compared exactly: there is no
// redirect to a cleaned path, and everything unknown is a JSON 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if route := h.routes[r.URL.Path]; route != nil {
		route(w, r)
		return
	}
	h.serve(w, r, endpoint{name: "unknown", run: func(*call) error { return errNoRoute }})
}

// Connect serves POST auth/connect: it takes a [ConnectRequest] and answers
// [ConnectSuccess], or 401 with [AuthRequired].
func (h *Handler) Connect(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "connect", methods: post, run: (*call).connect, caller: required, budget: h.connects})
}

// Disconnect serves POST auth/disconnect: it takes a [DisconnectRequest], ends
// the session, revokes its tokens, and answers [Done].
func (h *Handler) Disconnect(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "disconnect", methods: post, run: (*call).disconnect, caller: required, budget: h.requests})
}

// Status serves GET auth/status?sessionId=: it answers [SessionStatus] without
// asking the MCP server anything. With attemptId=, from an [AuthRequired], it
// also tells how that authorization stands. With wait= it answers when that
// changes, on whichever replica, or when so many seconds are over.
func (h *Handler) Status(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "status", methods: getOrHead, run: (*call).status, caller: required, budget: h.requests})
}

// Sessions serves GET auth/sessions: it answers [SessionList] with the
// caller's own sessions. Without Config.Identify there is no such route.
func (h *Handler) Sessions(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "sessions", methods: getOrHead, run: (*call).sessions, caller: required, budget: h.requests})
}

// ListTools serves GET tool/list?sessionId=: it answers [ListToolsSuccess]
// with the tools of every page, each exactly as the MCP server describes it.
func (h *Handler) ListTools(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "list_tools", methods: getOrHead, run: (*call).listTools, caller: required, budget: h.requests})
}

// CallTool serves POST tool/call: it takes a [CallToolRequest] and answers
// [CallToolSuccess], exactly as the MCP server sent it. With Accept:
// text/event-stream it answers a stream of "progress" events ([ToolProgress])
// and, for a front end that can ask, "input" events ([InputAsked]), that ends with
// one "result", "inputRequired" or "error" event; a failure before the first event
// is a plain answer.
func (h *Handler) CallTool(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "call_tool", methods: post, run: (*call).callTool, caller: required, budget: h.requests})
}

// Callback serves GET and POST auth/callback, where authorization servers send
// the browser back to. It answers [Done]; a browser (Accept: text/html) gets a
// page, or Config.AfterCallback.
func (h *Handler) Callback(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "callback", methods: getOrPost, run: (*call).callback, caller: looked, budget: h.callbacks, takesForm: true})
}

// ClientMetadata serves GET client-metadata.json, the Client ID Metadata
// Document. It exists when the manager's template has a ClientMetadataURL,
// which should lead here.
func (h *Handler) ClientMetadata(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "client_metadata", methods: getOrHead, run: (*call).clientMetadata})
}

// KeySet serves GET jwks.json, the public keys of the client (RFC 7517), which
// the Client ID Metadata Document names as its jwks_uri. It exists when the
// manager's template has ClientKeys.
func (h *Handler) KeySet(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "key_set", methods: getOrHead, run: (*call).keySet})
}

var (
	post      = []string{http.MethodPost}
	getOrHead = []string{http.MethodGet, http.MethodHead}
	// getOrPost has no HEAD: whatever looks at a link in advance must not use
	// up the code in it.
	getOrPost = []string{http.MethodGet, http.MethodPost}
)

// endpoint is what serve serves.
type endpoint struct {
	name    string   // for the log
	methods []string // nil for any
	run     func(*call) error
	caller  need     // for Config.Identify
	budget  *limiter // nil for none
	// takesForm lets a form through from any site: an authorization server's
	// response in form_post mode comes from another site by nature, and state
	// and binding protect it.
	takesForm bool
}

// need is what an endpoint needs to know about who is asking.
type need int

const (
	nothing need = iota
	// looked asks Config.Identify, and lets a request without an owner through: the
	// endpoint refuses it. A form that an authorization server's page posts comes
	// without cookies.
	looked
	required
)

// call is one request on its way.
type call struct {
	h         *Handler
	w         http.ResponseWriter
	r         *http.Request
	endpoint  string
	requestID string
	owner     string   // as Config.Identify says
	noOwner   error    // why there is none, though Config.Identify exists
	sessionID string   // once known, for an answer that requires authorization
	binding   string   // the browser's, once bind was called
	others    []string // further bindings of the browser
	asksURL   bool     // the front end can show URLs that a server asks to open
	newCookie bool     // the browser does not have it yet
	tool      string   // once known, for the log
	answered  answer   // of a failure, for the observer
}

// protections are the headers of every answer. The values are shared: no code
// changes a value in place.
var protections = http.Header{
	"Cache-Control":           {"no-store"},
	"X-Content-Type-Options":  {"nosniff"},
	"Referrer-Policy":         {"no-referrer"}, // session IDs and codes are in some URLs
	"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
}

// serve runs an endpoint behind the protections that all share.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	c := &call{h: h, w: w, r: r, endpoint: e.name, requestID: rand.Text()}
	if h.observer != nil {
		defer c.observe()()
		r = c.r
	}
	header := w.Header()
	maps.Copy(header, protections)
	header["X-Request-Id"] = []string{c.requestID}
	trusted := h.allowOrigin(header, r)
	if e.caller != nothing && !h.ownHost(r) {
		c.fail(errHost)
		return
	}
	if trusted && isPreflight(r) && e.methods != nil {
		preflight(w, r, e.methods)
		return
	}
	if e.methods != nil && !slices.Contains(e.methods, r.Method) {
		header.Set("Allow", strings.Join(e.methods, ", "))
		c.fail(errMethod)
		return
	}
	// Origin is checked for whatever may change something; GETs change nothing
	// and browsers do not let other sites read their answers.
	if err := h.crossOrigin.Check(r); err != nil && !(e.takesForm && mediaType(r) == formType) {
		c.fail(errCrossOrigin.because(err))
		return
	}
	if len(r.URL.RawQuery) > h.cfg.MaxQueryBytes {
		c.fail(errQueryTooLong)
		return
	}
	if e.caller != nothing {
		c.identify()
	}
	if e.budget != nil || e.caller != nothing {
		leave, err := c.enter()
		if err != nil {
			c.refuse(err)
			return
		}
		defer leave()
	}
	if err := c.limit(e.budget); err != nil {
		c.refuse(err)
		return
	}
	if c.noOwner != nil && e.caller == required {
		c.fail(c.noOwner)
		return
	}
	if err := e.run(c); err != nil {
		c.fail(err)
	}
}

// identify asks the host who is signed in.
func (c *call) identify() {
	if c.h.cfg.Identify == nil {
		return
	}
	owner, err := c.h.cfg.Identify(c.r)
	switch {
	case err != nil:
		c.noOwner = errUnauthenticated.because(err)
	case owner == "":
		c.noOwner = errUnauthenticated.because(errors.New("Config.Identify returned an empty owner"))
	default:
		c.owner = owner
	}
}

// caller says on whose behalf the request is.
func (c *call) caller() (session.Caller, error) {
	c.bind()
	return session.Caller{Owner: c.owner, Binding: c.binding}, c.noOwner
}
