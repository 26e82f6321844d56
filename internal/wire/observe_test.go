package wire_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

func TestAddMeta(t *testing.T) {
	t.Parallel()
	meta := map[string]string{"traceparent": "00-aa-bb-01"}
	for _, c := range []struct{ name, params, want string }{
		{"no parameters", "", `{"_meta":{"traceparent":"00-aa-bb-01"}}`},
		{"an empty object", " {} ", `{"_meta":{"traceparent":"00-aa-bb-01"}}`},
		{"large numbers stay", `{"n":9007199254740993}`, `{"_meta":{"traceparent":"00-aa-bb-01"},"n":9007199254740993}`},
		{"members of the caller stay", `{"a":1,"_meta":{"x":9007199254740993}}`, `{"_meta":{"traceparent":"00-aa-bb-01","x":9007199254740993},"a":1}`},
		{"the trace of the caller stays", `{"_meta":{"traceparent":"mine"},"a":1}`, `{"_meta":{"traceparent":"mine"},"a":1}`},
		{"the word elsewhere", `{"a":"_meta\""}`, `{"_meta":{"traceparent":"00-aa-bb-01"},"a":"_meta\""}`},
		{"an invalid member", `{"_meta":1}`, `{"_meta":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.AddMeta(json.RawMessage(c.params), meta)
			require.NoError(t, err)
			require.True(t, json.Valid(got), string(got))
			require.Equal(t, c.want, string(got))
		})
	}
	_, err := wire.AddMeta(json.RawMessage(`[1]`), meta)
	require.ErrorContains(t, err, "no JSON object")
	same, err := wire.AddMeta(json.RawMessage(`[1]`), nil)
	require.NoError(t, err)
	require.Equal(t, `[1]`, string(same))
}
