package oauthclient

import (
	"bytes"
	"encoding/json"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// decode returns a server's JSON as a type of the SDK. Servers deviate in
// members that a caller may never look at, so a member that does not fit is left
// out, and of an array the elements that do not fit. PHP servers write [] for an
// empty object. The result is never nil.
func decode[T any](raw json.RawMessage) *T {
	v := new(T)
	if len(raw) == 0 || json.Unmarshal(raw, v) == nil {
		return v
	}
	var kept []byte
	wire.Members(raw, func(name, value []byte) {
		key, err := json.Marshal(string(name))
		if err != nil {
			return
		}
		for _, candidate := range [][]byte{value, fittingElements[T](key, value), emptyObjects(value)} {
			if candidate != nil && fits[T](key, candidate) {
				kept = append(append(append(append(kept, ','), key...), ':'), candidate...)
				return
			}
		}
	})
	v = new(T)
	if len(kept) > 0 {
		kept[0] = '{'
		if json.Unmarshal(append(kept, '}'), v) != nil {
			return new(T)
		}
	}
	return v
}

// fits reports whether a type can hold a member with a value.
func fits[T any](key, value []byte) bool {
	member := bytes.Join([][]byte{{'{'}, key, {':'}, value, {'}'}}, nil)
	return json.Unmarshal(member, new(T)) == nil
}

// fittingElements returns an array without the elements that a type cannot
// hold; nil if value is no array.
func fittingElements[T any](key, value []byte) []byte {
	kept := []byte{'['}
	if !wire.Elements(value, func(element []byte) {
		if !fits[T](key, bytes.Join([][]byte{{'['}, element, {']'}}, nil)) {
			return
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(kept, element...)
	}) {
		return nil
	}
	return append(kept, ']')
}

// emptyObjects returns a value with {} in place of each [] in it.
func emptyObjects(value []byte) []byte {
	out := bytes.Clone(value)
	inString := false
	for i := 0; i < len(out); i++ {
		switch {
		case inString && out[i] == '\\':
			i++
		case out[i] == '"':
			inString = !inString
		case !inString && out[i] == '[':
			end := i + 1
			for end < len(out) && (out[end] == ' ' || out[end] == '\t' || out[end] == '\r' || out[end] == '\n') {
				end++
			}
			if end < len(out) && out[end] == ']' {
				out[i], out[end] = '{', '}'
			}
		}
	}
	return out
}
