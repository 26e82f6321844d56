package hybridstore_test

import (
	"testing"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

func BenchmarkGetWarm(b *testing.B) {
	s, _ := open(b, onURL(redistest.Run(b, redistest.Options{}).URL()))
	create(b, s, "k", string(make([]byte, 2<<10)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSwap costs one more round trip than redisstore's, to hear of what
// others do to the record from here on.
func BenchmarkSwap(b *testing.B) {
	s, _ := open(b, onURL(redistest.Run(b, redistest.Options{}).URL()))
	value := string(make([]byte, 2<<10))
	create(b, s, "k", value)
	b.ReportAllocs()
	for b.Loop() {
		update(b, s, "k", value, value)
	}
}

func BenchmarkGetAway(b *testing.B) {
	server := redistest.Run(b, redistest.Options{})
	s, _ := open(b, onURL(server.URL()))
	create(b, s, "k", string(make([]byte, 2<<10)))
	server.Kill()
	waitAway(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}
