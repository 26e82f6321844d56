package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// decorator wraps a store and has none of its optional abilities.
type decorator struct{ store.SessionStore }

func (d decorator) Unwrap() store.SessionStore { return d.SessionStore }

// opaque wraps a store and does not say so.
type opaque struct{ store.SessionStore }

// strict answers for itself.
type strict struct{ decorator }

func (strict) Ephemeral() bool { return false }

func TestFindBelowWrappers(t *testing.T) {
	t.Parallel()
	memory := memstore.New(memstore.Config{})
	for _, tt := range []struct {
		name      string
		s         store.SessionStore
		ephemeral bool // if it is found
		found     bool
	}{
		{"the store itself", memory, true, true},
		{"wrapped", decorator{memory}, true, true},
		{"wrapped twice", decorator{decorator{memory}}, true, true},
		{"the wrapper has it, too", strict{decorator{memory}}, false, true},
		{"around a wrapper that has it", decorator{strict{decorator{memory}}}, false, true},
		{"the wrapper hides it", opaque{memory}, false, false},
		{"hidden below a wrapper", decorator{opaque{memory}}, false, false},
		{"a wrapper of nothing", decorator{}, false, false},
		{"nothing", nil, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, found := store.Find[store.Ephemeral](tt.s)
			require.Equal(t, tt.found, found)
			if found {
				require.Equal(t, tt.ephemeral, e.Ephemeral())
			}
		})
	}
	counter, ok := store.Find[store.Counter](strict{decorator{memory}})
	require.True(t, ok)
	require.Same(t, memory, counter)
}
