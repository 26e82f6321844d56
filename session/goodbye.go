package session

import "net/http"

// maxGoodbyes is how many MCP sessions are ended at a time. A replica that
// shuts down ends thousands at once, which must not open thousands of
// connections; the SDK gives each 5 seconds, waiting included.
const maxGoodbyes = 64

// goodbyes lets a limited number of the requests through that end MCP sessions,
// the only DELETEs there are. All others pass.
type goodbyes struct {
	base  http.RoundTripper
	slots chan struct{}
}

// withGoodbyes returns an HTTP client on the same transport as client.
func withGoodbyes(client *http.Client) *http.Client {
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	return &http.Client{Transport: &goodbyes{base, make(chan struct{}, maxGoodbyes)}}
}

func (g *goodbyes) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodDelete {
		return g.base.RoundTrip(req)
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
		return g.base.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// CloseIdleConnections serves [http.Client.CloseIdleConnections].
func (g *goodbyes) CloseIdleConnections() {
	(&http.Client{Transport: g.base}).CloseIdleConnections()
}
