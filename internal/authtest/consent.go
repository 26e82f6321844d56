package authtest

import (
	"html/template"
	"net/http"
)

// The page posts back to its own URL, so the query carries the request.
var consentPage = template.Must(template.New("consent").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Allow {{.Client}}?</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 4rem auto; padding: 0 1rem; }
button { font: inherit; padding: .5rem 1.5rem; margin-right: 1rem; }
dd { overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>Allow {{.Client}}?</h1>
<p>You are signed in as <strong>{{.User}}</strong>.</p>
<dl>
{{with .Resource}}<dt>Access to</dt><dd>{{.}}</dd>{{end}}
<dt>Permissions</dt>
{{range .Scopes}}<dd>{{.}}</dd>{{else}}<dd>Basic access</dd>{{end}}
<dt>You will return to</dt><dd>{{.Return}}</dd>
</dl>
<form method="post">
<button type="submit" name="decision" value="approve">Approve</button>
<button type="submit" name="decision" value="deny">Deny</button>
</form>
</main>
</body>
</html>
`))

var errorPage = template.Must(template.New("error").Parse(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Cannot continue</title></head>
<body><main><h1>Cannot continue</h1><p>{{.}}</p></main></body>
</html>
`))

func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, req *authorization) {
	user := r.Header.Get(userHeader)
	if user == "" {
		user = s.opts.User
	}
	name := req.client.Name
	if name == "" {
		name = req.client.ID
	}
	writePage(w, http.StatusOK, consentPage, map[string]any{
		"Client": name, "User": user, "Resource": req.resource,
		"Scopes": req.scopes, "Return": req.redirectURI,
	})
}

func showError(w http.ResponseWriter, status int, text string) {
	writePage(w, status, errorPage, text)
}

func writePage(w http.ResponseWriter, status int, page *template.Template, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = page.Execute(w, data)
}
