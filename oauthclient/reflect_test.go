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
		if !value.Type().Field(i).IsExported() {
			continue // has a test of its own: TestCredentials_KeepWhatServersSaid
		}
		require.False(t, value.Field(i).IsZero(), "%s.%s is not set", value.Type(), value.Type().Field(i).Name)
	}
}
