package oauthclient_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireNoZeroField makes sure that a sample stays a sample of everything.
func requireNoZeroField(t *testing.T, v any) {
	t.Helper()
	value := reflect.ValueOf(v)
	for i := range value.NumField() {
		require.False(t, value.Field(i).IsZero(), "%s.%s is not set", value.Type(), value.Type().Field(i).Name)
	}
}
