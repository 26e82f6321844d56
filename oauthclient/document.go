package oauthclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode"
)

// document is a JSON object of an authorization server or a metadata URL. Each
// member is decoded when it is used, so that a malformed member breaks no other.
type document map[string]json.RawMessage

var errNoObject = errors.New("is not a JSON object")

// parseDocument reads an object, after a byte order mark if there is one.
func parseDocument(body []byte) (document, error) {
	var d document
	if err := json.Unmarshal(withoutBOM(body), &d); err != nil || d == nil {
		return nil, errNoObject
	}
	return d, nil
}

func withoutBOM(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) }

// text returns a member that is a string, and "" for any other.
func (d document) text(name string) string {
	var s string
	_ = json.Unmarshal(d[name], &s)
	return s
}

// list returns the strings of a member that is a list, or a string of words.
func (d document) list(name string) []string {
	var elements []json.RawMessage
	if json.Unmarshal(d[name], &elements) != nil {
		return words(d.text(name))
	}
	var out []string
	for _, element := range elements {
		var s string
		if json.Unmarshal(element, &s) == nil && s != "" {
			out = append(out, s)
		}
	}
	return out
}

// scopes returns the scopes of a member, in a list or in a string.
func (d document) scopes(name string) []string { return words(strings.Join(d.list(name), " ")) }

// flag reports whether a member is true, or the string "true".
func (d document) flag(name string) bool {
	return string(bytes.Trim(d[name], `"`)) == "true"
}

// number returns a member that is a number, or a string with one, and 0 for any
// other.
func (d document) number(name string) float64 {
	f, err := strconv.ParseFloat(string(bytes.Trim(d[name], `"`)), 64)
	if err != nil || f != f {
		return 0
	}
	return f
}

// words cuts a list of scopes, which servers separate by spaces or by commas.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}
