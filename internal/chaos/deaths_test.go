package chaos_test

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
)

// deaths are the kills of replicas under load, and what they excuse.
//
// OAuth has one loss that no client can prevent: the authorization server has
// redeemed a refresh token, and the replica dies before the new one is stored.
// The server tells here which refreshes it carried out for which replica, so
// that it is known per user whether that can be the reason: the user's request
// to the killed replica got no answer, and was the reason of a refresh.
type deaths struct {
	leaseTTL time.Duration // how long others wait for what the dead have locked

	mu       sync.Mutex
	spent    []spending
	killed   map[*loadtest.Replica]time.Time
	requests []*interruption
	asked    map[*loadtest.User]bool // has been asked to authorize, and has not done it yet
	watched  string                  // the name of the replica whose next refresh is reported
	refresh  chan struct{}
}

// spending is a refresh token that a replica has used up, or used once more.
type spending struct {
	replica, user string
	at            time.Time
}

// interruption is a request that a killed replica has left without an answer.
type interruption struct {
	user    *loadtest.User
	replica *loadtest.Replica
	began   time.Time
	excused bool // the loss that this one explains has been seen
}

func newDeaths(leaseTTL time.Duration) *deaths {
	return &deaths{leaseTTL: leaseTTL, killed: make(map[*loadtest.Replica]time.Time), asked: make(map[*loadtest.User]bool), refresh: make(chan struct{})}
}

// onRefresh is for authtest.Options. It holds the answer to the next refresh of
// a watched replica until that is dead.
func (d *deaths) onRefresh(userName string, r *http.Request) {
	name := r.Header.Get(replicaHeader)
	d.mu.Lock()
	d.spent = append(d.spent, spending{name, userName, time.Now()})
	hold := name != "" && name == d.watched
	if hold {
		d.watched = ""
		close(d.refresh)
	}
	d.mu.Unlock()
	if hold {
		<-r.Context().Done()
	}
}

// nextRefresh returns a channel that is closed when a refresh of the replica
// has been carried out, and its answer is on hold.
func (d *deaths) nextRefresh(name string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched, d.refresh = name, make(chan struct{})
	return d.refresh
}

// kill ends a replica, which gets no more requests.
func (d *deaths) kill(p *process) {
	d.mu.Lock()
	d.killed[p.Replica] = time.Now().Add(loadtest.Patience) // until it is dead
	d.mu.Unlock()
	p.kill()
	d.mu.Lock()
	d.killed[p.Replica] = time.Now()
	d.mu.Unlock()
}

// Excuse reports whether a kill is the reason of an answer to a request that began
// then.
func (d *deaths) Excuse(u *loadtest.User, r *loadtest.Replica, a loadtest.Answer, began time.Time) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch a.Code {
	case "unreachable":
		if d.killed[r].IsZero() {
			return false
		}
		d.requests = append(d.requests, &interruption{user: u, replica: r, began: began})
		return true
	case httpapi.CodeUpstreamTimeout: // the session is locked until the lease ends
		return slices.ContainsFunc(d.requests, func(i *interruption) bool {
			return i.user == u && began.Before(d.killed[i.replica].Add(d.leaseTTL))
		})
	case "requires_auth":
		if d.asked[u] {
			return true
		}
		for _, i := range d.requests {
			if i.user == u && !i.excused && d.inDoubt(i) {
				i.excused, d.asked[u] = true, true
				return true
			}
		}
	}
	return false
}

// inDoubt reports whether a request that was interrupted has used up a refresh
// token. No other request has refreshed for this replica and this user since the
// request began: a user has one request at a time, and the replica got no more.
func (d *deaths) inDoubt(i *interruption) bool {
	return slices.ContainsFunc(d.spent, func(s spending) bool {
		return s.replica == i.replica.Name && s.user == i.user.Name && !s.at.Before(i.began)
	})
}

// Mended is called when a user has authorized again.
func (d *deaths) Mended(u *loadtest.User) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[u] = false
}

// interrupted is the number of requests that got no answer.
func (d *deaths) interrupted() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.requests)
}

// Losses is how many sessions can have lost their tokens at most. Whether a
// replica came to save them is not known; where it did, there is one loss less.
func (d *deaths) Losses() (n int) {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.requests {
		if d.inDoubt(i) {
			n++
		}
	}
	return n
}

// lost is how many users have been asked to authorize again.
func (d *deaths) lost() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.requests {
		if i.excused {
			n++
		}
	}
	return n
}
