// Package members keeps members of stored JSON objects that this version does
// not know, so that replicas of two versions can share a store.
package members

import (
	"reflect"
	"strings"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Known returns the names of the members that encoding/json writes for the
// struct T, and more.
func Known[T any](more ...string) map[string]bool {
	names := make(map[string]bool)
	for i, t := 0, reflect.TypeFor[T](); i < t.NumField(); i++ {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			names[name] = true
		}
	}
	for _, name := range more {
		names[name] = true
	}
	return names
}

// Unknown returns the text of an object's members that are not known: each
// begins with a comma. Values keep their spelling.
func Unknown(object []byte, known map[string]bool) string {
	var text []byte
	wire.RawMembers(object, func(name, value []byte) {
		if !known[string(wire.Unquote(name))] {
			text = append(append(append(append(text, ','), name...), ':'), value...)
		}
	})
	return string(text)
}

// Add adds members that Unknown returned to an object.
func Add(object []byte, unknown string) []byte {
	if unknown == "" {
		return object
	}
	inside := object[:len(object)-1]
	if len(inside) == 1 { // nothing but the brace
		unknown = unknown[1:]
	}
	return append(append(inside[:len(inside):len(inside)], unknown...), '}')
}
