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
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 1rem/1.5 Inter, system-ui, sans-serif; margin: 0; padding: 8vh 1.25rem 2rem; background: light-dark(#f4f4f2, #16161a); color: light-dark(#1c1c1f, #ececf0); }
main { max-width: 26rem; margin: 0 auto; padding: 1.75rem; border: 1px solid light-dark(#dcdcd8, #33333b); border-radius: 12px; background: light-dark(#fff, #1e1e24); }
h1 { font-size: 1.375rem; line-height: 1.3; letter-spacing: -.015em; margin: 0 0 .25rem; }
p { margin: 0; }
p, dt { color: light-dark(#5c5c66, #a5a5b2); font-size: .875rem; }
strong { color: light-dark(#1c1c1f, #ececf0); font-weight: 600; }
dl { margin: 1.25rem 0 1.5rem; padding-top: .25rem; border-top: 1px solid light-dark(#dcdcd8, #33333b); }
dt { margin-top: .875rem; }
dd { margin: 0; overflow-wrap: anywhere; }
form { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
button { font: inherit; font-weight: 550; min-height: 2.75rem; border: 1px solid light-dark(#8c8c96, #70707c); border-radius: 8px; background: none; color: inherit; cursor: pointer; }
button[value=approve] { border-color: transparent; background: light-dark(#1c1c1f, #ececf0); color: light-dark(#fff, #1c1c1f); }
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
