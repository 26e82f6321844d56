package httpapi

import (
	_ "embed" // openapi.json
	"encoding/json"
	"net/http"
)

//go:embed openapi.json
var openAPISource []byte

// openAPIDocument is an OpenAPI document (version 3.1.0) with its members in
// the order in which people read them.
type openAPIDocument struct {
	OpenAPI    json.RawMessage `json:"openapi"`
	Info       json.RawMessage `json:"info"`
	Servers    []openAPIServer `json:"servers"`
	Security   json.RawMessage `json:"security"`
	Tags       json.RawMessage `json:"tags"`
	Paths      json.RawMessage `json:"paths"`
	Components json.RawMessage `json:"components"`
}

type openAPIServer struct {
	URL string `json:"url"`
}

// openAPIFor returns the document for routes below a URL.
func openAPIFor(baseURL string) (file, error) {
	var doc openAPIDocument
	if err := json.Unmarshal(openAPISource, &doc); err != nil {
		return file{}, err
	}
	doc.Servers = []openAPIServer{{URL: baseURL}}
	body, err := json.MarshalIndent(doc, "", "  ")
	return newFile(jsonType, body), err
}

// openAPI serves the description of this API.
func (c *call) openAPI() error { return c.file(c.h.openAPI) }

// OpenAPI serves GET openapi.json, the OpenAPI 3.1 description of all routes,
// where they are under Config.PublicURL and Config.Prefix. It needs no
// login.
func (h *Handler) OpenAPI(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "openapi", methods: getOrHead, run: (*call).openAPI})
}
