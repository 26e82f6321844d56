package members_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/members"
)

func TestUnknownMembersAreKept(t *testing.T) {
	t.Parallel()
	type version1 struct {
		A int `json:"a"`
		B int `json:"b,omitempty"`
	}
	known := members.Known[version1]("c")
	for object, want := range map[string]string{
		`{}`:                             `{}`,
		`{"a":1,"b":2,"c":3}`:            `{}`,
		`{"a":1,"z":[1.10],"b":2}`:       `{"z":[1.10]}`,
		` { "z" : 9007199254740993 } `:   `{"z":9007199254740993}`,
		`{"caf\u00e9":{"x":1},"y":null}`: `{"caf\u00e9":{"x":1},"y":null}`,
		`no object`:                      `{}`,
	} {
		unknown := members.Unknown([]byte(object), known)
		require.Equal(t, want, string(members.Add([]byte(`{}`), unknown)), object)
	}
	object := []byte(`{"a":1}`)
	require.Equal(t, `{"a":1,"z":2}`, string(members.Add(object, `,"z":2`)))
	require.Equal(t, `{"a":1}`, string(object))
}
