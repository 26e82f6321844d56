package session_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A user may choose the server, and both send what takes minutes to compare.
func TestFormsThatAreCostlyToCheck(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ field, value string }{
		"many options, many choices": {
			`{"type":"array","items":{"enum":[` + strings.Repeat("1,", 30000) + `2]}}`,
			`[` + strings.Repeat("2,", 30000) + `2]`,
		},
		"options with titles": {
			`{"type":"array","items":{"anyOf":[` + strings.Repeat(`{"const":1},`, 5000) + `{"const":2}]}}`,
			`[` + strings.Repeat("2,", 30000) + `2]`,
		},
		"a pattern that repeats": {
			`{"type":"string","pattern":"^` + strings.Repeat("(a?){1000}", 20) + `b"}`,
			`"` + strings.Repeat("a", 60000) + `"`,
		},
		"a long pattern": {
			`{"type":"string","pattern":"^` + strings.Repeat("(a?){1000}", 60) + `b"}`,
			`"` + strings.Repeat("a", 60000) + `"`,
		},
		"many patterns": {
			`{}` + patterns(200, `:{"type":"string","pattern":"^`+strings.Repeat("(a?){1000}", 20)+`b"}`),
			`{}` + patterns(200, `:"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newAsker(t, &asker{ask: []string{`{"message":"m","requestedSchema":{"type":"object","properties":{"f":` + tt.field + `}}}`}})
			_, a, b, id := scriptedWorld(t, server.scripted, asks)
			call := startAsking(t.Context(), a, id)
			in := call.input(t)
			answered := make(chan error, 1)
			go func() {
				answered <- b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"accept","content":{"f":`+tt.value+`}}`))
			}()
			select {
			case err := <-answered:
				require.NoError(t, err, "the server checks it")
			case <-time.After(waitPatience):
				require.FailNow(t, "checking the answer takes too long")
			}
			require.NotEmpty(t, call.answers(t))
		})
	}
}

// patterns returns n further members.
func patterns(n int, value string) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, `,"g%d"%s`, i, value)
	}
	return all.String()
}

// What an ordinary form costs is checked.
func TestFormsOfUsualSize(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ field, good, bad string }{
		"a choice of 4,000":     {`{"type":"string","enum":[` + strings.Repeat(`"no",`, 4000) + `"yes"]}`, `"yes"`, `"maybe"`},
		"30 choices of 250":     {`{"type":"array","items":{"anyOf":[` + strings.Repeat(`{"const":"no"},`, 250) + `{"const":"yes"}]}}`, `["yes"` + strings.Repeat(`,"no"`, 29) + `]`, `["maybe"]`},
		"a pattern of a domain": {`{"type":"string","pattern":"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"}`, `"mail.example.com"`, `"mail..example.com"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newAsker(t, &asker{ask: []string{`{"message":"m","requestedSchema":{"type":"object","properties":{"f":` + tt.field + `}}}`}})
			_, a, b, id := scriptedWorld(t, server.scripted, asks)
			call := startAsking(t.Context(), a, id)
			in := call.input(t)
			answer := func(value string) error {
				return b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"accept","content":{"f":`+value+`}}`))
			}
			require.ErrorContains(t, answer(tt.bad), "a member does not fit its schema")
			require.NoError(t, answer(tt.good))
			require.NotEmpty(t, call.answers(t))
		})
	}
}
