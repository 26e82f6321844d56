package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	users = 12
	// callsPerStep is how many calls all users together make after each event.
	callsPerStep = 100
	// redisAway is how long Redis stays dead. After the first second the hosts
	// go on in memory, with what they know.
	redisAway = 2 * time.Second
)

// story is what happens, step by step.
type story struct {
	w     *world
	out   io.Writer
	users []*user
	step  int
}

// say prints one line. If that fails, there is no place to report it.
func (s *story) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) }

// event prints what happened, and how it was for the users.
func (s *story) event(title, outcome string) {
	s.step++
	s.say("%d. %s", s.step, title)
	s.say("     %s", outcome)
}

func (s *story) tell(ctx context.Context) error {
	s.introduce()
	if err := s.connect(ctx); err != nil {
		return err
	}
	work := startWork(ctx, s.users)
	defer work.stop()
	for _, e := range []struct {
		title  string
		happen func() error
	}{
		{fmt.Sprintf("%d users work; the calls alternate between the hosts", users), func() error { return nil }},
		{"Host b is killed in the middle of it", func() error { s.w.hosts[1].kill(); return nil }},
		{"Host b is back, and knows no user", func() error { return s.w.hosts[1].start(ctx) }},
		{"All access tokens end at once", func() error { s.w.auth.ExpireAccessTokens(); return nil }},
		{fmt.Sprintf("Redis is killed, and started again after %v", redisAway), func() error { return s.restartRedis(ctx) }},
	} {
		outcome, err := work.during(ctx, callsPerStep, e.happen)
		if err != nil {
			return fmt.Errorf("%s: %w", e.title, err)
		}
		s.event(e.title, outcome)
	}
	work.stop()
	if err := s.disconnect(ctx); err != nil {
		return err
	}
	return s.conclude(ctx)
}

func (s *story) introduce() {
	s.say("Two replicas, one Redis\n")
	s.say("     redis-server    %s, every write on disk before it is answered", s.w.redis.Addr())
	for _, h := range s.w.hosts {
		s.say("     host %s          http://%s, a process of its own", h.name, h.addr)
	}
	s.say("     load balancer   %s, round robin, no user is pinned to a host", s.w.publicURL)
	s.say("     seal key        32 random bytes, the same on both hosts, as made by: openssl rand -base64 32\n")
}

// connect has all users connect at once.
func (s *story) connect(ctx context.Context) error {
	errs := make([]error, users)
	var wg sync.WaitGroup
	for i := range users {
		u, err := newUser(s.w, fmt.Sprintf("user %d", i+1))
		if err != nil {
			return err
		}
		s.users = append(s.users, u)
		wg.Go(func() { errs[i] = u.connect(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	counts := s.w.auth.Counts()
	s.event(fmt.Sprintf("%d users connect and authorize", users),
		fmt.Sprintf("callbacks may land on either host; %d client registration for all", counts.Registrations))
	return nil
}

func (s *story) restartRedis(ctx context.Context) error {
	s.w.redis.Kill()
	select {
	case <-time.After(redisAway):
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.w.redis.Restart()
}

// disconnect has the first user leave, through one of the hosts.
func (s *story) disconnect(ctx context.Context) error {
	gone := s.users[0]
	if err := gone.disconnect(ctx); err != nil {
		return err
	}
	for _, h := range s.w.hosts {
		if err := s.waitUntilGone(ctx, gone, "http://"+h.addr); err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
	}
	s.users = s.users[1:]
	s.event("One user disconnects", "both hosts answer 404 from now on; the tokens are revoked")
	return nil
}

// waitUntilGone waits until a host has heard of it. That takes milliseconds, unless
// the host that the user left through is still without Redis: it tells the other one
// when it is back, after 3 s at most.
func (s *story) waitUntilGone(ctx context.Context, u *user, base string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		a, err := u.call(ctx, base)
		if err != nil || a.status == http.StatusNotFound {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has disconnected, and is answered HTTP status %d", u.name, a.status)
		}
	}
}

// conclude looks for losses: a session that does not work on a host, a user who
// had to authorize again, a token that was refreshed more than once.
func (s *story) conclude(ctx context.Context) error {
	for _, h := range s.w.hosts {
		for _, u := range s.users {
			a, err := u.call(ctx, "http://"+h.addr)
			if err != nil {
				return err
			}
			if a.status != http.StatusOK {
				return fmt.Errorf("lost: %s on host %s is answered HTTP status %d %s", u.name, h.name, a.status, a.Error)
			}
		}
	}
	counts := s.w.auth.Counts()
	switch {
	case counts.Authorizations != users:
		return fmt.Errorf("lost: %d users authorized %d times", users, counts.Authorizations)
	case counts.Refreshes != users:
		return fmt.Errorf("lost: %d tokens ended, and were refreshed %d times", users, counts.Refreshes)
	case counts.ReuseDetected != 0:
		return fmt.Errorf("lost: %d refresh tokens were used twice", counts.ReuseDetected)
	}
	s.say("\nNothing was lost: all %d sessions work on both hosts, no user had to authorize again,", len(s.users))
	s.say("and %d tokens were refreshed exactly once each.", counts.Refreshes)
	return nil
}
