package chaos_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	loadWorkers = 6
	loadPause   = 4 * time.Millisecond // between two operations of a worker

	// leastRefreshes are part of every progress in a world in which tokens end
	// all the time.
	leastRefreshes = 5
)

// load is many users at work, until it is stopped. An answer that is no success must
// have one of the codes that the test allows.
type load struct {
	t       testing.TB
	w       *world
	users   []*user
	fleet   *fleet
	allowed []string

	cancel context.CancelFunc
	wg     sync.WaitGroup

	// callsOnly leaves out what makes and ends sessions.
	callsOnly bool
	// deaths knows what the kills of replicas excuse; nil where there are none.
	deaths *deaths

	mu       sync.Mutex
	outcomes map[string]int
	failures map[*replica]int // answers other than success
	bad      []string
	total    int
}

// startLoad connects all users, then lets them work. Users may get answers with the
// allowed codes.
func startLoad(t testing.TB, w *world, users []*user, f *fleet, allowed ...string) *load {
	t.Helper()
	l := newLoad(t, w, users, f, allowed...)
	l.start()
	return l
}

func newLoad(t testing.TB, w *world, users []*user, f *fleet, allowed ...string) *load {
	return &load{
		t: t, w: w, users: users, fleet: f, allowed: allowed,
		outcomes: make(map[string]int), failures: make(map[*replica]int),
	}
}

func (l *load) start() {
	l.t.Helper()
	l.connectAll()
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.t.Cleanup(func() {
		l.cancel()
		l.wg.Wait()
		if l.t.Failed() {
			l.t.Log(strings.Join(l.bad, "\n"))
		}
	})
	first := l.users[0].random.Uint64()
	for i := range loadWorkers {
		random := rand.New(rand.NewPCG(first, uint64(i)))
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.step(l.users[random.IntN(len(l.users))])
				time.Sleep(loadPause)
			}
		})
	}
}

// connectAll gives every user a session while all is well.
func (l *load) connectAll() {
	l.t.Helper()
	var wg sync.WaitGroup
	next := make(chan *user)
	for range loadWorkers {
		wg.Go(func() {
			for u := range next {
				u.mu.Lock()
				l.connect(u)
				u.mu.Unlock()
			}
		})
	}
	for _, u := range l.users {
		next <- u
	}
	close(next)
	wg.Wait()
	for _, u := range l.users {
		require.NotEmpty(l.t, u.id, "%s is not connected before it all begins: %v", u.name, l.summary())
	}
}

// step is one operation of a user, unless another worker acts for that user.
func (l *load) step(u *user) {
	if !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	choice := u.random.IntN(100)
	switch {
	case u.id == "":
		l.connect(u)
	case u.leaving || choice < 2 && !l.callsOnly:
		l.do(u, "disconnect", u.disconnect)
	case choice < 6:
		l.use(u, "list", u.list)
	case choice < 10:
		l.do(u, "status", u.status)
	default:
		l.use(u, "call", u.call)
	}
}

// use is do for an operation that needs a token. A user who has lost the session's
// tokens with a replica authorizes again.
func (l *load) use(u *user, op string, fn func(context.Context, *replica) answer) answer {
	a := l.do(u, op, fn)
	if l.deaths != nil && a.code == "requires_auth" && l.authorize(u, u.id, a.authURL) {
		l.deaths.mended(u)
	}
	return a
}

// do carries out one operation, on any replica.
func (l *load) do(u *user, op string, fn func(context.Context, *replica) answer) answer {
	r, done := l.fleet.pick(u.random)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started := time.Now()
	a := fn(ctx, r)
	l.note(u, r, op, a, started)
	if op != "disconnect" && a.status == http.StatusNotFound && u.id != "" {
		u.id, u.leaving = "", false // as a front end does: connect again
	}
	return a
}

// connect is a user's way to a session: connect, authorize, callback, each on any
// replica.
func (l *load) connect(u *user) {
	if a := l.do(u, "connect", u.begin); a.code == "requires_auth" {
		l.authorize(u, a.sessionID, a.authURL)
	}
}

// authorize makes a user authorize a session, and reports whether the user has the
// session then. A callback that fails is sent again, as by a browser
// whose user reloads the page; if that does not help, the next step starts over.
func (l *load) authorize(u *user, id, authURL string) bool {
	path, err := u.authorize(context.Background(), authURL)
	if err != nil {
		l.complain("%s cannot authorize: %v", u.name, err)
		return false
	}
	for range 3 {
		b := l.do(u, "callback", func(ctx context.Context, r *replica) answer { return u.finish(ctx, r, path) })
		switch {
		case b.ok():
			u.id = id
			return true
		case b.status == http.StatusBadRequest:
			return false
		}
	}
	return false
}

// note counts an answer, and judges it.
func (l *load) note(u *user, r *replica, op string, a answer, began time.Time) {
	took := time.Since(began)
	success := a.ok() && a.code == "" || op == "connect" && a.code == "requires_auth"
	fine := success || slices.Contains(l.allowed, a.code) || l.deaths.excuse(u, r, a, began)
	l.mu.Lock()
	if l.total++; !success {
		l.failures[r]++
	}
	l.outcomes[a.outcome(op)]++
	l.mu.Unlock()
	if !fine {
		l.complain("%s on replica %s after %v: %s %s", u.name, r.name, took, a.outcome(op), a.body)
	}
}

func (l *load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) < 10 {
		l.bad = append(l.bad, fmt.Sprintf(format, args...))
	}
}

// progress waits until n more operations have been answered and, in a busy
// world, some tokens have been refreshed meanwhile.
func (l *load) progress(n int) {
	l.t.Helper()
	goal, refreshes := l.count()+n, l.w.as.Counts().Refreshes
	for count := l.count(); count < goal; count = l.count() { // however long it takes, as long as some are
		eventually(l.t, fmt.Sprintf("an operation is answered, and %d more", goal-count-1), func() bool { return l.count() > count })
	}
	if l.w.busy {
		eventually(l.t, "refreshes", func() bool { return l.w.as.Counts().Refreshes >= refreshes+leastRefreshes })
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// seen counts the answers with a code.
func (l *load) seen(code string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for outcome, times := range l.outcomes {
		if strings.HasSuffix(outcome, " "+code) {
			n += times
		}
	}
	return n
}

func (l *load) failuresOn(r *replica) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures[r]
}

func (l *load) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, outcome := range slices.Sorted(maps.Keys(l.outcomes)) {
		lines = append(lines, fmt.Sprintf("%d × %s", l.outcomes[outcome], outcome))
	}
	return strings.Join(lines, ", ")
}

// halt ends the load.
func (l *load) halt() {
	l.t.Helper()
	l.cancel()
	l.wg.Wait()
	l.t.Log(l.summary())
	require.Empty(l.t, l.bad, "answers that no user should get")
	if l.w.busy {
		require.Positive(l.t, l.w.as.Counts().Refreshes, "nothing was refreshed, so nothing is proved")
	}
}

// stop ends the load and requires what every test of this package is about.
func (l *load) stop() {
	l.t.Helper()
	l.halt()
	l.mend()
	l.requireAllWork()
	counts := l.w.as.Counts()
	l.t.Logf("%+v", counts)
	require.LessOrEqual(l.t, counts.ReuseDetected, l.deaths.losses(), "a refresh token was used twice")
	require.Zero(l.t, counts.CodesReused, "a code was used twice")
}

// mend makes the users authorize who have lost their tokens with a replica and have
// not noticed yet.
func (l *load) mend() {
	l.t.Helper()
	if l.deaths == nil {
		return
	}
	for _, u := range l.users {
		eventually(l.t, u.name+" can call tools, or authorize", func() bool {
			return u.id == "" || u.leaving || l.use(u, "call", u.call).ok()
		})
	}
}

// requireAllWork requires that every session works on every replica, without
// its user being asked for anything, and that what was removed stays removed.
func (l *load) requireAllWork() {
	l.t.Helper()
	before := l.w.as.Counts().Authorizations
	var homeless []*user
	for _, u := range l.users {
		if u.leaving {
			l.settle(u, "disconnect", u.disconnect)
		}
		for _, r := range l.fleet.all() {
			if u.id != "" {
				l.settleOn(u, r)
			}
			for _, id := range u.removed {
				gone := &user{w: u.w, name: u.name, id: id, cookies: u.cookies}
				eventually(l.t, "a removed session stays removed", func() bool {
					return gone.status(context.Background(), r).status == http.StatusNotFound
				})
			}
		}
		if u.id == "" {
			homeless = append(homeless, u)
		}
	}
	require.Equal(l.t, before, l.w.as.Counts().Authorizations)
	for _, u := range homeless {
		eventually(l.t, u.name+" can connect again", func() bool { l.connect(u); return u.id != "" })
		for _, r := range l.fleet.all() {
			l.settleOn(u, r)
		}
	}
	require.Empty(l.t, l.bad, "answers that no user should get")
}

// settleOn requires that a user's session comes to work on a replica; a session
// that Redis has lost, where that is allowed, is gone.
func (l *load) settleOn(u *user, r *replica) {
	l.t.Helper()
	eventually(l.t, u.name+" can call tools", func() bool {
		if u.id == "" {
			return true
		}
		began := time.Now()
		a := u.call(context.Background(), r)
		l.note(u, r, "settle", a, began)
		if a.status == http.StatusNotFound {
			u.id = ""
		}
		return a.ok()
	})
}

func (l *load) settle(u *user, op string, fn func(context.Context, *replica) answer) {
	l.t.Helper()
	eventually(l.t, u.name+": "+op, func() bool { return l.do(u, op, fn).ok() })
}
