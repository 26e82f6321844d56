package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Parts come in their order, as they are spelled.
func TestMembersAndElements(t *testing.T) {
	t.Parallel()
	var got []string
	require.True(t, wire.Members([]byte(" { \"a\" : 1.50 , \"\\u0062\":{\"c\":[ ]},\"a\":\"x\\\"y\" }\n"), func(name, value []byte) { got = append(got, string(name)+"="+string(value)) }))
	require.Equal(t, []string{"a=1.50", `b={"c":[ ]}`, `a="x\"y"`}, got)
	got = nil
	require.True(t, wire.Elements([]byte(`[1, null,[true],{"a":[]}, "]" ]`), func(value []byte) { got = append(got, string(value)) }))
	require.Equal(t, []string{"1", "null", "[true]", `{"a":[]}`, `"]"`}, got)
	for _, text := range []string{``, ` `, `1`, `"{}"`, `null`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1]`, `{"a":1}{`, `[]`, `{"a":01}`, `{"a":"` + "\n" + `"}`} {
		require.False(t, wire.Members([]byte(text), func(_, _ []byte) {}), text)
	}
	for _, text := range []string{``, `{}`, `[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `[1}`, `[1]]`, `[tru]`, `["]`, `["\x"]`, `["\u12g4"]`, `["\u12`, `[1.]`, `[-]`, `[1e]`} {
		require.False(t, wire.Elements([]byte(text), func(_ []byte) {}), text)
	}
	nothing := func(_ []byte) {}
	require.True(t, wire.Elements([]byte(strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), nothing))
	require.False(t, wire.Elements([]byte(strings.Repeat("[", 1001)+strings.Repeat("]", 1001)), nothing))
}

func TestUnquote(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`"a b"`: "a b", `""`: "", `"\u0061\n\"\ud83d\ude00"`: "a\n\"😀", `"ä"`: "ä"} {
		got := wire.Unquote([]byte(text))
		require.NotNil(t, got)
		require.Equal(t, want, string(got))
	}
	for _, text := range []string{``, `"`, `a`, `1`, `null`, `{"a"}`, `"\x"`} {
		require.Nil(t, wire.Unquote([]byte(text)), text)
	}
}
