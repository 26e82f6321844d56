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

var scriptFile = newFile("text/javascript; charset=utf-8", script)

// file is what is the same for everybody and never changes while the process
// runs.
type file struct {
	contentType string
	body        []byte
	tag         string // its ETag, which changes with body
}

func newFile(contentType string, body []byte) file {
	sum := sha256.Sum256(body)
	return file{contentType, body, `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// file serves a file. Browsers may keep it, but ask each time whether it still
// is what they have, so that none runs an old script against a new server.
func (c *call) file(f file) error {
	header := c.w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Type", f.contentType)
	header.Set("ETag", f.tag)
	http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader(f.body))
	return nil
}

// script serves the browser's side of this API.
func (c *call) script() error { return c.file(scriptFile) }

// Script serves GET mcp-oauth.js: a JavaScript module without dependencies that
// connects, opens the authorization in a popup, waits for it, and repeats the
// call that asked for it. Its comments say how to use it. It needs no
// login.
func (h *Handler) Script(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "script", methods: getOrHead, run: (*call).script})
}
