package loadtest

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

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// Workers is how many operations are under way at a time.
const Workers = 6

const (
	pause = 4 * time.Millisecond // between two operations of a worker

	// leastRefreshes are part of every progress where tokens end all the time.
	leastRefreshes = 5
)

// Load is many users at work, until it is stopped. An answer that is no success must
// have one of the codes that the test allows. Create one with [New].
type Load struct {
	Users []*User
	Fleet *Fleet
	// CallsOnly leaves out what makes and ends sessions.
	CallsOnly bool
	// Busy says that tokens end all the time: each progress includes refreshes.
	Busy bool
	// Deaths knows what the kills of replicas excuse. Nil where there are none.
	Deaths Deaths

	t       testing.TB
	as      *authtest.Server
	allowed []string
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex
	outcomes map[string]int
	failures map[*Replica]int // answers other than success
	bad      []string
	total    int
}

// Deaths knows what the kills of replicas excuse.
type Deaths interface {
	// Excuse reports whether a kill is the reason of an answer to a request that
	// began then.
	Excuse(u *User, r *Replica, a Answer, began time.Time) bool
	// Mended is called when a user has authorized again.
	Mended(u *User)
	// Losses is how many sessions can have lost their tokens at most.
	Losses() int
}

// New returns a load that [Load.Start] begins. Its users get their tokens at as, and
// may get answers with the allowed codes.
func New(t testing.TB, as *authtest.Server, users []*User, f *Fleet, allowed ...string) *Load {
	return &Load{
		Users: users, Fleet: f, t: t, as: as, allowed: allowed,
		outcomes: make(map[string]int), failures: make(map[*Replica]int),
	}
}

// Start connects all users, then lets them work.
func (l *Load) Start() {
	l.t.Helper()
	l.ConnectAll()
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.t.Cleanup(func() {
		l.cancel()
		l.wg.Wait()
		if l.t.Failed() {
			l.t.Log(strings.Join(l.bad, "\n"))
		}
	})
	first := l.Users[0].random.Uint64()
	for i := range Workers {
		random := rand.New(rand.NewPCG(first, uint64(i)))
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.step(l.Users[random.IntN(len(l.Users))])
				time.Sleep(pause)
			}
		})
	}
}

// ConnectAll gives every user a session while all is well.
func (l *Load) ConnectAll() {
	l.t.Helper()
	var wg sync.WaitGroup
	next := make(chan *User)
	for range Workers {
		wg.Go(func() {
			for u := range next {
				u.mu.Lock()
				l.Connect(u)
				u.mu.Unlock()
			}
		})
	}
	for _, u := range l.Users {
		next <- u
	}
	close(next)
	wg.Wait()
	for _, u := range l.Users {
		require.NotEmpty(l.t, u.ID, "%s is not connected before it all begins: %v", u.Name, l.summary())
	}
}

// step is one operation of a user, unless another worker acts for that user.
func (l *Load) step(u *User) {
	if !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	choice := u.random.IntN(100)
	switch {
	case u.ID == "":
		l.Connect(u)
	case u.leaving || choice < 2 && !l.CallsOnly:
		l.do(u, "disconnect", u.disconnect)
	case choice < 6:
		l.use(u, "list", u.list)
	case choice < 10:
		l.do(u, "status", u.status)
	default:
		l.use(u, "call", u.Call)
	}
}

// use is do for an operation that needs a token. A user who has lost the session's
// tokens with a replica authorizes again.
func (l *Load) use(u *User, op string, fn func(context.Context, *Replica) Answer) Answer {
	a := l.do(u, op, fn)
	if l.Deaths != nil && a.Code == "requires_auth" && l.authorize(u, u.ID, a.AuthURL) {
		l.Deaths.Mended(u)
	}
	return a
}

// do carries out one operation, on any replica.
func (l *Load) do(u *User, op string, fn func(context.Context, *Replica) Answer) Answer {
	r, done := l.Fleet.pick(u.random)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	started := time.Now()
	a := fn(ctx, r)
	l.note(u, r, op, a, started)
	if op != "disconnect" && a.Status == http.StatusNotFound && u.ID != "" {
		u.ID, u.leaving = "", false // as a front end does: connect again
	}
	return a
}

// Connect is a user's way to a session: connect, authorize, callback, each on any
// replica.
func (l *Load) Connect(u *User) {
	if a := l.do(u, "connect", u.Begin); a.Code == "requires_auth" {
		l.authorize(u, a.SessionID, a.AuthURL)
	}
}

// authorize makes a user authorize a session, and reports whether the user has the
// session then. A callback that fails is sent again, as by a browser
// whose user reloads the page; if that does not help, the next step starts over.
func (l *Load) authorize(u *User, id, authURL string) bool {
	path, err := u.Authorize(context.Background(), authURL)
	if err != nil {
		l.complain("%s cannot authorize: %v", u.Name, err)
		return false
	}
	for range 3 {
		b := l.do(u, "callback", func(ctx context.Context, r *Replica) Answer { return u.Finish(ctx, r, path) })
		switch {
		case b.OK():
			u.ID = id
			return true
		case b.Status == http.StatusBadRequest:
			return false
		}
	}
	return false
}

// note counts an answer, and judges it.
func (l *Load) note(u *User, r *Replica, op string, a Answer, began time.Time) {
	took := time.Since(began)
	success := a.OK() && a.Code == "" || op == "connect" && a.Code == "requires_auth"
	fine := success || slices.Contains(l.allowed, a.Code) || l.Deaths != nil && l.Deaths.Excuse(u, r, a, began)
	l.mu.Lock()
	if l.total++; !success {
		l.failures[r]++
	}
	l.outcomes[a.Outcome(op)]++
	l.mu.Unlock()
	if !fine {
		l.complain("%s on replica %s after %v: %s %s", u.Name, r.Name, took, a.Outcome(op), a.Body)
	}
}

func (l *Load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) < 10 {
		l.bad = append(l.bad, fmt.Sprintf(format, args...))
	}
}

// Progress waits until n more operations have been answered and, if the load is
// busy, some tokens have been refreshed meanwhile.
func (l *Load) Progress(n int) {
	l.t.Helper()
	goal, refreshes := l.count()+n, l.as.Counts().Refreshes
	for count := l.count(); count < goal; count = l.count() { // however long it takes, as long as some are
		Eventually(l.t, fmt.Sprintf("an operation is answered, and %d more", goal-count-1), func() bool { return l.count() > count })
	}
	if l.Busy {
		Eventually(l.t, "refreshes", func() bool { return l.as.Counts().Refreshes >= refreshes+leastRefreshes })
	}
}

func (l *Load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Seen counts the answers with a code.
func (l *Load) Seen(code string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for outcome, times := range l.outcomes {
		if strings.HasSuffix(outcome, " "+code) {
			n += times
		}
	}
	return n
}

// FailuresOn counts the answers of a replica other than success.
func (l *Load) FailuresOn(r *Replica) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures[r]
}

func (l *Load) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, outcome := range slices.Sorted(maps.Keys(l.outcomes)) {
		lines = append(lines, fmt.Sprintf("%d × %s", l.outcomes[outcome], outcome))
	}
	return strings.Join(lines, ", ")
}

// Halt ends the load.
func (l *Load) Halt() {
	l.t.Helper()
	l.cancel()
	l.wg.Wait()
	l.t.Log(l.summary())
	require.Empty(l.t, l.bad, "answers that no user should get")
	if l.Busy {
		require.Positive(l.t, l.as.Counts().Refreshes, "nothing was refreshed, so nothing is proved")
	}
}

// Stop ends the load. It requires that all sessions work on all replicas, and that no
// refresh token and no code was used twice.
func (l *Load) Stop() {
	l.t.Helper()
	l.Halt()
	l.mend()
	l.requireAllWork()
	counts, losses := l.as.Counts(), 0
	if l.Deaths != nil {
		losses = l.Deaths.Losses()
	}
	l.t.Logf("%+v", counts)
	require.LessOrEqual(l.t, counts.ReuseDetected, losses, "a refresh token was used twice")
	require.Zero(l.t, counts.CodesReused, "a code was used twice")
}

// mend makes the users authorize who have lost their tokens with a replica and have
// not noticed yet.
func (l *Load) mend() {
	l.t.Helper()
	if l.Deaths == nil {
		return
	}
	for _, u := range l.Users {
		Eventually(l.t, u.Name+" can call tools, or authorize", func() bool {
			return u.ID == "" || u.leaving || l.use(u, "call", u.Call).OK()
		})
	}
}

// requireAllWork requires that every session works on every replica, without
// its user being asked for anything, and that what was removed stays removed.
func (l *Load) requireAllWork() {
	l.t.Helper()
	before := l.as.Counts().Authorizations
	var homeless []*User
	for _, u := range l.Users {
		if u.leaving {
			l.settle(u, "disconnect", u.disconnect)
		}
		for _, r := range l.Fleet.All() {
			if u.ID != "" {
				l.SettleOn(u, r)
			}
			for _, id := range u.removed {
				gone := &User{Name: u.Name, ID: id, cookies: u.cookies}
				Eventually(l.t, "a removed session stays removed", func() bool {
					return gone.status(context.Background(), r).Status == http.StatusNotFound
				})
			}
		}
		if u.ID == "" {
			homeless = append(homeless, u)
		}
	}
	require.Equal(l.t, before, l.as.Counts().Authorizations)
	for _, u := range homeless {
		Eventually(l.t, u.Name+" can connect again", func() bool { l.Connect(u); return u.ID != "" })
		for _, r := range l.Fleet.All() {
			l.SettleOn(u, r)
		}
	}
	require.Empty(l.t, l.bad, "answers that no user should get")
}

// SettleOn requires that a user's session comes to work on a replica; a session
// that Redis has lost, where that is allowed, is gone.
func (l *Load) SettleOn(u *User, r *Replica) {
	l.t.Helper()
	Eventually(l.t, u.Name+" can call tools", func() bool {
		if u.ID == "" {
			return true
		}
		began := time.Now()
		a := u.Call(context.Background(), r)
		l.note(u, r, "settle", a, began)
		if a.Status == http.StatusNotFound {
			u.ID = ""
		}
		return a.OK()
	})
}

func (l *Load) settle(u *User, op string, fn func(context.Context, *Replica) Answer) {
	l.t.Helper()
	Eventually(l.t, u.Name+": "+op, func() bool { return l.do(u, op, fn).OK() })
}
