package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// hydraForms are the sign-in and consent forms that a deployment of Hydra
// brings. They use Hydra's admin API as its documentation shows.
type hydraForms struct{ admin string }

// newHydraForms serves the forms.
func newHydraForms(t *testing.T, admin string) (url string) {
	t.Helper()
	f := hydraForms{admin: admin}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", form(`<input name="subject"><button>Sign in</button>`))
	mux.HandleFunc("POST /login", f.login)
	mux.HandleFunc("GET /consent", form(`<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button>`))
	mux.HandleFunc("POST /consent", f.consent)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// form is a page with a form that is posted to the page's own URL.
func form(fields string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<form method="post">%s</form>`, fields)
	}
}

func (f hydraForms) login(w http.ResponseWriter, r *http.Request) {
	f.decide(w, r, "login", "accept", map[string]any{"subject": r.PostFormValue("subject"), "remember": true})
}

func (f hydraForms) consent(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("decision") == "deny" {
		f.decide(w, r, "consent", "reject", map[string]any{"error": "access_denied", "error_description": "The user said no."})
		return
	}
	var request struct {
		Scopes    []string `json:"requested_scope"`
		Audiences []string `json:"requested_access_token_audience"`
	}
	if err := f.ask(http.MethodGet, f.endpoint(r, "consent", ""), nil, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	f.decide(w, r, "consent", "accept", map[string]any{"grant_scope": request.Scopes, "grant_access_token_audience": request.Audiences})
}

// endpoint is that of a request that waits for the user.
func (f hydraForms) endpoint(r *http.Request, kind, action string) string {
	challenge := kind + "_challenge"
	return f.admin + "/admin/oauth2/auth/requests/" + kind + action + "?" + url.Values{challenge: {r.URL.Query().Get(challenge)}}.Encode()
}

// decide ends the wait for the user, and sends the browser on.
func (f hydraForms) decide(w http.ResponseWriter, r *http.Request, kind, verdict string, decision map[string]any) {
	var answer struct {
		RedirectTo string `json:"redirect_to"`
	}
	if err := f.ask(http.MethodPut, f.endpoint(r, kind, "/"+verdict), decision, &answer); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.Redirect(w, r, answer.RedirectTo, http.StatusSeeOther)
}

func (f hydraForms) ask(method, endpoint string, body, answer any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, endpoint, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", endpoint, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
