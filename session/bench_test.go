package session_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/session"
)

// A sealed record is written when something changes and opened when a replica
// sees it for the first time; a warm call does neither.
func BenchmarkSeal(b *testing.B) {
	sealer := session.NewSealer([][]byte{bytes.Repeat([]byte{1}, 32)})
	record := bytes.Repeat([]byte("r"), 1500)
	sealed, err := sealer.Seal("session:k", record)
	require.NoError(b, err)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = sealer.Seal("session:k", record)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sealer.Open("session:k", sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
