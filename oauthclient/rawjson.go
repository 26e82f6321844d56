package oauthclient

import (
	"bytes"
	"encoding/json"
)

// The functions here cut JSON text apart without decoding it, for what is
// passed on as it came. They take text that [json.Valid] accepts, and look only
// for where its parts begin and end.

// maxNesting is the deepest value they go through. The SDK refuses a message of
// more than 1000 levels, two of which may be around the value.
const maxNesting = 998

// eachMember calls visit with the members of an object in their order. It
// reports false when text is no object, or nested too deep.
func eachMember(text []byte, visit func(name, value []byte)) bool {
	return eachPart(text, '{', visit)
}

// eachElement calls visit with the elements of an array in their order. It
// reports false when text is no array, or nested too deep.
func eachElement(text []byte, visit func(value []byte)) bool {
	return eachPart(text, '[', func(_, value []byte) { visit(value) })
}

// eachPart goes through what stands in a pair of brackets.
func eachPart(text []byte, open byte, visit func(name, value []byte)) bool {
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != open {
		return false
	}
	var name []byte
	for i = skipSpace(text, i+1); i < len(text) && text[i] != '}' && text[i] != ']'; i = skipSpace(text, i) {
		if text[i] == ',' {
			i = skipSpace(text, i+1)
		}
		if open == '{' {
			end := stringEnd(text, i)
			name = unquote(text[i:end])
			i = skipSpace(text, skipSpace(text, end)+1) // over the colon
		}
		end, ok := valueEnd(text, i)
		if !ok {
			return false
		}
		visit(name, text[i:end])
		i = end
	}
	return i < len(text)
}

// valueEnd returns where the value at i ends.
func valueEnd(text []byte, i int) (end int, ok bool) {
	for depth := 0; i < len(text); {
		switch c := text[i]; c {
		case '"':
			i = stringEnd(text, i)
		case '{', '[':
			if depth++; depth > maxNesting {
				return 0, false
			}
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
			continue // inside of brackets, or the value would have ended before
		default: // a number, true, false, null
			for i < len(text) && bytes.IndexByte([]byte(",]} \t\r\n"), text[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i, true
		}
	}
	return 0, false
}

// stringEnd returns where the string at i ends.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
		i++
	}
	return i
}

// unquote returns what a JSON string stands for, nil if text is none.
func unquote(text []byte) []byte {
	if len(text) < 2 || text[0] != '"' {
		return nil
	}
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return nil
	}
	return []byte(s)
}
