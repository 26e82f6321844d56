package httpapi

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// connect begins a session. The binding is given to the browser before the
// manager is asked, whatever the manager says: a session that needs no
// authorization now may need one at its first tool call.
func (c *call) connect() error {
	var req ConnectRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if req.SessionID == "" {
		if err := require("serverUrl", req.ServerURL); err != nil {
			return err
		}
		req.CallbackURL = cmp.Or(req.CallbackURL, c.h.callbackURL)
	}
	if req.CallbackURL != "" && req.CallbackURL != c.h.callbackURL && !slices.Contains(c.h.cfg.AllowedCallbackURLs, req.CallbackURL) {
		return invalid("callbackUrl is not one that this application allows.")
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	c.setBinding()
	info, err := c.h.manager.Connect(c.r.Context(), caller, session.ConnectParams{
		SessionID: req.SessionID, ServerURL: req.ServerURL, ServerName: req.ServerName, CallbackURL: req.CallbackURL, FreshRegistration: req.Fresh,
		Headers: secretHeaders(req.Headers),
	})
	c.sessionID = info.ID.Reveal()
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, ConnectSuccess{Success: true, SessionID: c.sessionID})
}

// secretHeaders keeps the difference between no headers and none at all.
func secretHeaders(headers map[string]string) map[string]oauthclient.Secret {
	if headers == nil {
		return nil
	}
	secret := make(map[string]oauthclient.Secret, len(headers))
	for name, value := range headers {
		secret[name] = oauthclient.NewSecret(value)
	}
	return secret
}

// disconnect ends a session for good. Ending one that is gone already is a 404,
// as for every other call: it may be another owner's.
func (c *call) disconnect() error {
	var req DisconnectRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if err := require("sessionId", req.SessionID); err != nil {
		return err
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	if err := c.h.manager.RemoveClient(c.r.Context(), caller, req.SessionID); err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, Done{Success: true, Message: "Disconnected successfully"})
}

// attemptStatus is what a session's owner sees of an authorization.
func attemptStatus(info session.AttemptInfo) *AttemptStatus {
	attempt := &AttemptStatus{Status: string(info.Status), Error: info.Reason}
	switch {
	case info.Refused:
		attempt.Code, attempt.Error = CodeInvalidCallback, "The answer came from another browser or user, or does not fit. Connect again."
	case info.Status != session.AttemptFailed:
	case info.Code == CodeAccessDenied: // RFC 6749 section 4.1.2.1
		attempt.Code = CodeAccessDenied
	default:
		attempt.Code = CodeAuthorizationFailed
	}
	return attempt
}

// sessionStatus is what a session's owner sees of it. Info.Key stays inside.
func sessionStatus(info session.Info) SessionStatus {
	return SessionStatus{
		SessionID: info.ID.Reveal(), Status: string(info.Status), ServerURL: info.ServerURL,
		Error: info.Reason, Reason: string(info.AuthorizationReason), ExpiresAt: info.ExpiresAt.UTC(),
	}
}

// sessions gives an owner the session IDs back that a page has lost. Without
// owners it would give anybody everybody's.
func (c *call) sessions() error {
	if c.h.cfg.Identify == nil {
		return errNoRoute // no owner to list for
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	infos, err := c.h.manager.Sessions(c.r.Context(), caller)
	if err != nil {
		return err
	}
	list := SessionList{Sessions: make([]SessionSummary, 0, len(infos))}
	for _, info := range infos {
		list.Sessions = append(list.Sessions, SessionSummary{
			SessionStatus: sessionStatus(info), ServerName: info.ServerName,
			CreatedAt: info.CreatedAt.UTC(), LastUsedAt: info.LastUsed.UTC(),
		})
	}
	return c.writeJSON(http.StatusOK, list)
}

// metadataCaching lets authorization servers keep the document: one that has to
// fetch it at each step refuses clients when it is too often.
const metadataCaching = "public, max-age=3600"

// clientMetadataDocument is a Client ID Metadata Document
// (draft-ietf-oauth-client-id-metadata-document section 4).
type clientMetadataDocument struct {
	ClientID string `json:"client_id"`
	oauthex.ClientRegistrationMetadata
}

// clientMetadata serves the document from the same configuration that sends
// its URL as the client_id, with the defaults of dynamic registration.
// Authorization servers fetch it, without a user.
func (c *call) clientMetadata() error {
	clientID, metadata := c.h.manager.ClientMetadata(append([]string{c.h.callbackURL}, c.h.cfg.AllowedCallbackURLs...)...)
	if clientID == "" {
		return errNoRoute
	}
	doc := clientMetadataDocument{clientID, metadata}
	if doc.TokenEndpointAuthMethod != "private_key_jwt" {
		doc.TokenEndpointAuthMethod = "none" // a public document has no shared secret
	}
	c.w.Header().Set("Cache-Control", metadataCaching)
	return c.writeJSON(http.StatusOK, doc)
}

// keySet serves the public keys. Authorization servers fetch them.
func (c *call) keySet() error {
	set, err := c.h.manager.ClientKeySet()
	if err != nil {
		return err
	}
	if set == nil {
		return errNoRoute
	}
	c.w.Header().Set("Cache-Control", metadataCaching)
	return c.writeJSON(http.StatusOK, json.RawMessage(set))
}
