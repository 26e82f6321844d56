package loadtest

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// Fleet is the load balancer.
type Fleet struct {
	mu       sync.Mutex
	replicas []*Replica
	busy     map[*Replica]*sync.WaitGroup
}

// NewFleet returns a load balancer in front of replicas.
func NewFleet(replicas ...*Replica) *Fleet {
	f := &Fleet{busy: make(map[*Replica]*sync.WaitGroup)}
	for _, r := range replicas {
		f.Add(r)
	}
	return f
}

// Add sends a replica requests from now on.
func (f *Fleet) Add(r *Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = append(f.replicas, r)
	f.busy[r] = new(sync.WaitGroup)
}

// pick chooses a replica for one request.
func (f *Fleet) pick(random *rand.Rand) (r *Replica, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r = f.replicas[random.IntN(len(f.replicas))]
	busy := f.busy[r]
	busy.Add(1)
	return r, busy.Done
}

// Drain sends a replica no more requests, and waits until it has answered the others.
func (f *Fleet) Drain(r *Replica) {
	f.mu.Lock()
	f.replicas = slices.DeleteFunc(f.replicas, func(other *Replica) bool { return other == r })
	busy := f.busy[r]
	f.mu.Unlock()
	busy.Wait()
}

// Lose is Drain for a replica that end kills. The replica gets no more requests once
// end is called.
func (f *Fleet) Lose(r *Replica, end func()) {
	f.mu.Lock()
	f.replicas = slices.DeleteFunc(f.replicas, func(other *Replica) bool { return other == r })
	end()
	busy := f.busy[r]
	f.mu.Unlock()
	busy.Wait()
}

// All returns the replicas that get requests.
func (f *Fleet) All() []*Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.replicas)
}
