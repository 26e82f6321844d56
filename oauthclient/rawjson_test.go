package oauthclient_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestMembersAreCutAsDecoded(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":              ` { } `,
		"one":                `{"a":1}`,
		"all kinds":          `{"a":null,"b":true,"c":-1.5e+10,"d":"x","e":[1,[2]],"f":{"g":{}}}`,
		"white space":        " {\n\t\"a\" : [ 1 , 2 ] ,\r\n \"b\" : 12 \n} ",
		"brackets in text":   `{"a":"]}{[,:","b":"\"}","c":["\\"]}`,
		"escaped name":       `{"\u0061b":1,"a\"c":2}`,
		"numbers above 2^53": `{"a":9007199254740993,"b":1e400}`,
		"not ASCII":          `{"ä":"ö, ü}"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, decodedMembers(t, []byte(text)), cutMembers(t, []byte(text)))
		})
	}
}

func TestNoMembersWhereThereIsNoObject(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, ` `, `null`, `1`, `"{}"`, `[]`, `[{"a":1}]`} {
		require.False(t, oauthclient.EachMember([]byte(text), func(name, _ []byte) { t.Errorf("a member %q of %q", name, text) }))
	}
	require.False(t, oauthclient.EachElement([]byte(`{}`), func([]byte) {}))
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	require.False(t, oauthclient.EachMember([]byte(`{"a":`+deep+`}`), func(_, _ []byte) {}), "nested deeper than the SDK takes")
}

// messages are answers of servers, of which only the plain ones may be read
// without the SDK's decoder.
var messages = map[string]struct {
	text  string
	plain bool
}{
	"response":                      {`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`, true},
	"in another order":              {` {"result":{"a":[1,{}]},"id":1,"jsonrpc":"2.0"} `, true},
	"no version":                    {`{"id":1,"result":{}}`, false},
	"version 1":                     {`{"jsonrpc":"1.0","id":1,"result":{}}`, false},
	"no ID":                         {`{"jsonrpc":"2.0","result":{}}`, false},
	"fractional ID":                 {`{"jsonrpc":"2.0","id":1.5,"result":{}}`, false},
	"ID out of range":               {`{"jsonrpc":"2.0","id":1e999,"result":{}}`, false},
	"ID null":                       {`{"jsonrpc":"2.0","id":null,"result":{}}`, false},
	"two results":                   {`{"jsonrpc":"2.0","id":1,"result":{"a":1},"result":{"a":2}}`, false},
	"a result that is no object":    {`{"jsonrpc":"2.0","id":1,"result":[]}`, false},
	"an error beside the result":    {`{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}`, false},
	"a method beside the result":    {`{"jsonrpc":"2.0","id":1,"result":{},"method":"ping"}`, false},
	"an error":                      {`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`, false},
	"a request":                     {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, false},
	"names in another case":         {`{"jsonrpc":"2.0","id":1,"Result":{}}`, false},
	"broken inside":                 {`{"jsonrpc":"2.0","id":1,"result":{"a":}}`, false},
	"cut off":                       {`{"jsonrpc":"2.0","id":1,"result":{"a":1}`, false},
	"something after the message":   {`{"jsonrpc":"2.0","id":1,"result":{}} x`, false},
	"deeper than the SDK takes":     {`{"jsonrpc":"2.0","id":1,"result":{"a":` + nested(1000) + `}}`, false},
	"as deep as the SDK still does": {`{"jsonrpc":"2.0","id":1,"result":{"a":` + nested(997) + `}}`, true},
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// TestPlainResultsAreThoseOfTheSDK: what is passed on must be what the SDK
// read, and what the SDK refuses must not be taken for plain.
func TestPlainResultsAreThoseOfTheSDK(t *testing.T) {
	t.Parallel()
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, m.plain, oauthclient.PlainResult([]byte(m.text)) != nil)
			checkPlain(t, []byte(m.text))
		})
	}
}

func checkPlain(t *testing.T, data []byte) {
	t.Helper()
	result := oauthclient.PlainResult(data)
	if result == nil {
		return
	}
	msg, err := jsonrpc.DecodeMessage(data)
	require.NoError(t, err)
	response, ok := msg.(*jsonrpc.Response)
	require.True(t, ok)
	require.NoError(t, response.Error)
	require.Equal(t, string(response.Result), string(result))
}

// FuzzRawJSON cuts arbitrary text, and compares with the decoders.
func FuzzRawJSON(f *testing.F) {
	for _, m := range messages {
		f.Add([]byte(m.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ignore := func(_, _ []byte) {}
		oauthclient.EachMember(text, ignore) // must end, whatever the text
		oauthclient.EachElement(text, func([]byte) {})
		checkPlain(t, text)
		// The decoder mends what is not UTF-8.
		if utf8.Valid(text) && json.Valid(text) && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) && oauthclient.EachMember(text, ignore) {
			require.Equal(t, decodedMembers(t, text), cutMembers(t, text))
		}
	})
}

type member struct{ name, value string }

func cutMembers(t *testing.T, text []byte) (cut []member) {
	t.Helper()
	require.True(t, oauthclient.EachMember(text, func(name, value []byte) {
		require.True(t, json.Valid(value), "%q", value)
		cut = append(cut, member{string(name), string(value)})
	}))
	return cut
}

func decodedMembers(t *testing.T, text []byte) (decoded []member) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	_, err := dec.Token()
	require.NoError(t, err)
	for dec.More() {
		name, err := dec.Token()
		require.NoError(t, err)
		var value json.RawMessage
		require.NoError(t, dec.Decode(&value))
		decoded = append(decoded, member{name.(string), string(value)})
	}
	return decoded
}
