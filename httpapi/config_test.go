package httpapi_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

func TestConfigMistakesNameTheirField(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*httpapi.Config)
		want   string
	}{
		"no public URL":              {func(c *httpapi.Config) { c.PublicURL = "" }, "Config.PublicURL: is required"},
		"relative public URL":        {func(c *httpapi.Config) { c.PublicURL = "app.example" }, "Config.PublicURL: must be an absolute"},
		"public URL with a query":    {func(c *httpapi.Config) { c.PublicURL += "?a=b" }, "Config.PublicURL: must not have"},
		"public URL with a fragment": {func(c *httpapi.Config) { c.PublicURL += "#a" }, "Config.PublicURL: must not have"},
		"public URL with a password": {func(c *httpapi.Config) { c.PublicURL = "https://u:p@app.example" }, "Config.PublicURL: must not have"},
		"plain http":                 {func(c *httpapi.Config) { c.PublicURL = "http://app.example" }, "Config.PublicURL: must be https"},
		"relative prefix":            {func(c *httpapi.Config) { c.Prefix = "api" }, "Config.Prefix"},
		"prefix with a slash":        {func(c *httpapi.Config) { c.Prefix = "/api/" }, "Config.Prefix"},
		"prefix with a wildcard":     {func(c *httpapi.Config) { c.Prefix = "/{tenant}" }, "Config.Prefix"},
		"relative callback":          {func(c *httpapi.Config) { c.AllowedCallbackURLs = []string{"/cb"} }, "Config.AllowedCallbackURLs[0]"},
		"script callback":            {func(c *httpapi.Config) { c.AllowedCallbackURLs = []string{"https://a.example/", "javascript:alert(1)"} }, "Config.AllowedCallbackURLs[1]"},
		"callback with a fragment":   {func(c *httpapi.Config) { c.AllowedCallbackURLs = []string{"https://a.example/#"} }, "Config.AllowedCallbackURLs[0]"},
		"callback without a host":    {func(c *httpapi.Config) { c.AllowedCallbackURLs = []string{"https:///cb"} }, "Config.AllowedCallbackURLs[0]"},
		"origin with a path":         {func(c *httpapi.Config) { c.TrustedOrigins = []string{"https://a.example/"} }, "Config.TrustedOrigins[0]"},
		"after: another host":        {func(c *httpapi.Config) { c.AfterCallback = "//evil.example" }, "Config.AfterCallback"},
		"after: a backslash":         {func(c *httpapi.Config) { c.AfterCallback = `/\evil.example` }, "Config.AfterCallback"},
		"after: a script":            {func(c *httpapi.Config) { c.AfterCallback = "javascript:alert(1)" }, "Config.AfterCallback"},
		"negative body limit":        {func(c *httpapi.Config) { c.MaxBodyBytes = -1 }, "Config.MaxBodyBytes"},
		"negative query limit":       {func(c *httpapi.Config) { c.MaxQueryBytes = -1 }, "Config.MaxQueryBytes"},
		"negative depth":             {func(c *httpapi.Config) { c.MaxJSONDepth = -1 }, "Config.MaxJSONDepth"},
		"no proxy network":           {func(c *httpapi.Config) { c.TrustedProxies = []netip.Prefix{{}} }, "Config.TrustedProxies[0]"},
		"mapped proxy network": {func(c *httpapi.Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}
		}, "Config.TrustedProxies[0]"},
		"negative heartbeat":     {func(c *httpapi.Config) { c.HeartbeatInterval = -1 }, "Config.HeartbeatInterval"},
		"negative write timeout": {func(c *httpapi.Config) { c.WriteTimeout = -1 }, "Config.WriteTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := httpapi.Config{PublicURL: publicURL}
			tc.change(&cfg)
			h, err := httpapi.NewWith(&fake{}, cfg)
			require.Nil(t, h)
			require.ErrorContains(t, err, "httpapi: "+tc.want)
		})
	}
}

func TestConfigMistakesAreAllReported(t *testing.T) {
	t.Parallel()
	_, err := httpapi.New(nil, httpapi.Config{Prefix: "x", AfterCallback: "y", MaxBodyBytes: -1})
	for _, want := range []string{"manager is nil", "PublicURL", "Prefix", "AfterCallback", "MaxBodyBytes"} {
		require.ErrorContains(t, err, want)
	}
}

func TestConfigIsAccepted(t *testing.T) {
	t.Parallel()
	manager, err := session.New(session.Config{Store: memstore.New(memstore.Config{})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	for name, tc := range map[string]struct {
		cfg  httpapi.Config
		want string
	}{
		"minimal":        {httpapi.Config{PublicURL: publicURL}, "https://app.example/api/mcp/auth/callback"},
		"slash":          {httpapi.Config{PublicURL: publicURL + "/"}, "https://app.example/api/mcp/auth/callback"},
		"below a path":   {httpapi.Config{PublicURL: publicURL + "/base"}, "https://app.example/base/api/mcp/auth/callback"},
		"no prefix":      {httpapi.Config{PublicURL: publicURL, Prefix: "/"}, "https://app.example/auth/callback"},
		"other prefix":   {httpapi.Config{PublicURL: publicURL, Prefix: "/x/y"}, "https://app.example/x/y/auth/callback"},
		"loopback":       {httpapi.Config{PublicURL: "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/api/mcp/auth/callback"},
		"localhost":      {httpapi.Config{PublicURL: "http://localhost:8080"}, "http://localhost:8080/api/mcp/auth/callback"},
		"native and web": {httpapi.Config{PublicURL: publicURL, AllowedCallbackURLs: []string{"com.example.app:/cb", "http://127.0.0.1/cb"}}, "https://app.example/api/mcp/auth/callback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := httpapi.New(manager, tc.cfg)
			require.NoError(t, err)
			require.Equal(t, tc.want, h.CallbackURL())
		})
	}
}

// A later change to the caller's slices changes nothing.
func TestConfigIsCloned(t *testing.T) {
	t.Parallel()
	allowed := []string{"https://a.example/cb"}
	h, _ := newFake(t, &fake{}, func(c *httpapi.Config) { c.AllowedCallbackURLs = allowed })
	allowed[0] = "https://evil.example/cb"
	w := request(t, h, "POST", pathConnect, `{"serverUrl":"https://mcp.example","callbackUrl":"https://evil.example/cb"}`)
	require.Equal(t, 400, w.Code)
	w = request(t, h, "POST", pathConnect, `{"serverUrl":"https://mcp.example","callbackUrl":"https://a.example/cb"}`)
	require.Equal(t, 200, w.Code)
}
