package chaos_test

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// fleet is the load balancer.
type fleet struct {
	mu       sync.Mutex
	replicas []*replica
	busy     map[*replica]*sync.WaitGroup
}

func newFleet(replicas ...*replica) *fleet {
	f := &fleet{busy: make(map[*replica]*sync.WaitGroup)}
	for _, r := range replicas {
		f.add(r)
	}
	return f
}

func (f *fleet) add(r *replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = append(f.replicas, r)
	f.busy[r] = new(sync.WaitGroup)
}

// pick chooses a replica for one request.
func (f *fleet) pick(random *rand.Rand) (r *replica, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r = f.replicas[random.IntN(len(f.replicas))]
	busy := f.busy[r]
	busy.Add(1)
	return r, busy.Done
}

// drain sends a replica no more requests, and waits until it has answered the others.
func (f *fleet) drain(r *replica) {
	f.mu.Lock()
	f.replicas = slices.DeleteFunc(f.replicas, func(other *replica) bool { return other == r })
	busy := f.busy[r]
	f.mu.Unlock()
	busy.Wait()
}

// lose is drain for a replica that end kills. The replica gets no more requests once
// end is called.
func (f *fleet) lose(r *replica, end func()) {
	f.mu.Lock()
	f.replicas = slices.DeleteFunc(f.replicas, func(other *replica) bool { return other == r })
	end()
	busy := f.busy[r]
	f.mu.Unlock()
	busy.Wait()
}

func (f *fleet) all() []*replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.replicas)
}
