package httpapi

import (
	"net/http"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// observe begins to observe the request, which goes on with the observer's
// context. The returned function ends it.
func (c *call) observe() func() {
	ctx, end := c.h.observer.Start(c.r.Context(), oauthclient.Work{Kind: oauthclient.WorkEndpoint, Name: c.endpoint})
	c.r = c.r.WithContext(ctx)
	return func() {
		out := oauthclient.Outcome{ErrorType: c.answered.code, Status: c.answered.status}
		if out.Status == 0 {
			out.Status = http.StatusOK
		}
		if body, ok := c.answered.body.(AuthRequired); ok {
			out.Reason = oauthclient.Reason(body.Reason)
		}
		end(out)
	}
}
