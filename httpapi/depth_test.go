package httpapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
)

// A body of nothing but brackets uses up the stack of a recursive reader.
func TestDeeplyNestedBodies(t *testing.T) {
	t.Parallel()
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	args := func(s string) string { return `{"sessionId":"s","toolName":"echo","toolArgs":{"a":` + s + `}}` }
	for name, tc := range map[string]struct {
		path, body string
		allowed    bool
	}{
		"as deep as allowed":               {pathCall, args(nest(98)), true},
		"deeper":                           {pathCall, args(nest(99)), false},
		"much deeper":                      {pathCall, args(nest(400_000)), false},
		"never closed":                     {pathCall, args(strings.Repeat(`{"a":[`, 100_000)), false},
		"objects":                          {pathCall, args(strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)), false},
		"in a member nobody knows":         {pathConnect, `{"serverUrl":"https://mcp.example","x":` + nest(500) + `}`, false},
		"in a callback":                    {pathCallback, `{"code":"c","state":"s","x":` + nest(500) + `}`, false},
		"wide, not deep":                   {pathCall, args("[" + strings.Repeat("[],", 10_000) + "[]]"), true},
		"brackets in a text":               {pathCall, args(`"` + strings.Repeat("[", 500) + `"`), true},
		"brackets after an escaped quote":  {pathCall, args(`"\"` + strings.Repeat("[", 500) + `"`), true},
		"brackets after an escaped escape": {pathCall, args(`["\\",` + nest(500) + `]`), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			h, _ := newFake(t, f)
			w := request(t, h, "POST", tc.path, tc.body)
			if tc.allowed {
				require.Equal(t, 200, w.Code, w.Body)
				return
			}
			require.Equal(t, 400, w.Code)
			require.Equal(t, httpapi.ErrorResponse{Code: httpapi.CodeInvalidRequest, Error: "The request body is nested more than 100 levels deep."}, errorOf(t, w))
			require.Empty(t, f.called())
		})
	}
}

func TestLongQueries(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		f := &fake{clientID: "x", keySet: []byte(`{"keys":[]}`)}
		h, _ := newFake(t, f, identified)
		path, _, _ := strings.Cut(e.path, "?")
		w := request(t, h, e.method, path+"?sessionId="+strings.Repeat("s", 16<<10), e.body)
		require.Equal(t, 400, w.Code, name)
		require.Equal(t, httpapi.ErrorResponse{Code: httpapi.CodeInvalidRequest, Error: "The query is too long."}, errorOf(t, w))
		require.Empty(t, f.called())
	}
}
