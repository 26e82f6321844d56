package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // mcp-oauth.js
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed mcp-oauth.js
var script []byte

// scriptTag changes with the script, so that a browser never runs an old one
// against a new server.
var scriptTag = entityTag(script)

// entityTag is the ETag of what never changes while the process runs.
func entityTag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// script serves the browser's side of this API.
func (c *call) script() error {
	c.file("text/javascript; charset=utf-8", scriptTag, script)
	return nil
}

// file serves what is the same for everybody. Browsers may keep it, but ask
// each time whether it still is what they have.
func (c *call) file(contentType, tag string, body []byte) {
	header := c.w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Type", contentType)
	header.Set("ETag", tag)
	http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader(body))
}

// Script serves GET mcp-oauth.js: a JavaScript module without dependencies that
// connects, opens the authorization in a popup, waits for it, and repeats the
// call that asked for it. Its comments say how to use it. There is nobody to
// identify.
func (h *Handler) Script(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "script", methods: getOrHead, run: (*call).script})
}
