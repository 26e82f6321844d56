package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// maxDepth is the deepest nesting of brackets that is read. Deeper text is
// refused before any recursive decoder sees it.
const maxDepth = 1000

// What the functions below return in place of a position.
const (
	malformed = -1
	tooDeep   = -2
)

// Members calls visit with the members of a JSON object in their order: the
// name as it reads without quotes, the value as it is spelled. It returns false
// when text is no valid object or nested too deep; by then visit may have been
// called for the members before the fault. The slices are parts of text.
func Members(text []byte, visit func(name, value []byte)) bool {
	return RawMembers(text, func(name, value []byte) { visit(Unquote(name), value) })
}

// RawMembers is [Members] with names as they are spelled, in quotes.
func RawMembers(text []byte, visit func(name, value []byte)) bool {
	return parts(text, '{', visit) > 0
}

// Elements calls visit with the elements of a JSON array in their order, as
// [Members] does for objects.
func Elements(text []byte, visit func(value []byte)) bool {
	return parts(text, '[', func(_, value []byte) { visit(value) }) > 0
}

// Unquote returns the text of a JSON string, and nil if text is no JSON string.
func Unquote(text []byte) []byte {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
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

// parts visits the parts of one bracket that fills the whole text. It returns
// where the bracket ends, or malformed, or tooDeep.
func parts(text []byte, open byte, visit func(name, value []byte)) int {
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != open {
		return malformed
	}
	end := skipBracket(text, i, 0, visit, nil)
	if end > 0 && skipSpace(text, end) != len(text) {
		return malformed
	}
	return end
}

// skipWhole checks that text is one valid JSON value. It returns its length, or
// malformed, or tooDeep.
func skipWhole(text []byte) int {
	end := skipValue(text, skipSpace(text, 0), 0)
	if end > 0 && skipSpace(text, end) != len(text) {
		return malformed
	}
	return end
}

// skipValue returns where the value at i ends, which is inside of depth
// brackets.
func skipValue(text []byte, i, depth int) int {
	if i >= len(text) {
		return malformed
	}
	switch text[i] {
	case '"':
		return skipString(text, i)
	case '{', '[':
		return skipBracket(text, i, depth, nil, nil)
	case 't':
		return skipLiteral(text, i, "true")
	case 'f':
		return skipLiteral(text, i, "false")
	case 'n':
		return skipLiteral(text, i, "null")
	default:
		return skipNumber(text, i)
	}
}

// skipBracket returns where the object or array at i ends. It calls visit, if
// there is one, with each part; names keep their quotes. If there is an into, it
// skips the values in place of skipValue, so it can look into them on the way.
func skipBracket(text []byte, i, depth int, visit func(name, value []byte), into func(name []byte, i, depth int) int) int {
	if depth == maxDepth {
		return tooDeep
	}
	object, closing := text[i] == '{', text[i]+2 // ASCII has '}' and ']' two after '{' and '['
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == closing {
		return i + 1
	}
	for {
		var name []byte
		if object {
			end := skipString(text, i)
			if end < 0 {
				return end
			}
			name = text[i:end]
			if i = skipSpace(text, end); i >= len(text) || text[i] != ':' {
				return malformed
			}
			i = skipSpace(text, i+1)
		}
		var end int
		if into != nil {
			end = into(name, i, depth+1)
		} else {
			end = skipValue(text, i, depth+1)
		}
		if end < 0 {
			return end
		}
		if visit != nil {
			visit(name, text[i:end:end])
		}
		if i = skipSpace(text, end); i >= len(text) {
			return malformed
		}
		switch text[i] {
		case ',':
			i = skipSpace(text, i+1)
		case closing:
			return i + 1
		default:
			return malformed
		}
	}
}

// skipString returns where the string at i ends.
func skipString(text []byte, i int) int {
	if i >= len(text) || text[i] != '"' {
		return malformed
	}
	for i++; i < len(text); i++ {
		for i+8 <= len(text) {
			n := plainBytes(binary.LittleEndian.Uint64(text[i:]))
			if i += n; n < 8 {
				break
			}
		}
		if i == len(text) {
			return malformed
		}
		switch c := text[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return malformed
		case c == '\\':
			if i = skipEscape(text, i+1); i < 0 {
				return i
			}
		}
	}
	return malformed
}

// plainBytes returns how many of the eight bytes, from the first, are neither
// a quote nor a backslash nor a control character. The formula marks the high
// bit of each byte that is one; a byte after the first such may be marked
// wrongly.
func plainBytes(x uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, slash := x^ones*'"', x^ones*'\\'
	found := (x-ones*' ')&^x | (quote-ones)&^quote | (slash-ones)&^slash
	return bits.TrailingZeros64(found&highs) / 8
}

// skipEscape returns the last position of the escape sequence whose character
// after the backslash is at i.
func skipEscape(text []byte, i int) int {
	if i >= len(text) {
		return malformed
	}
	switch text[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		if i+4 >= len(text) {
			return malformed
		}
		for _, c := range text[i+1 : i+5] {
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return malformed
			}
		}
		return i + 4
	}
	return malformed
}

func skipLiteral(text []byte, i int, literal string) int {
	if len(text)-i < len(literal) || string(text[i:i+len(literal)]) != literal {
		return malformed
	}
	return i + len(literal)
}

// skipNumber returns where the number at i ends (RFC 8259, section 6).
func skipNumber(text []byte, i int) int {
	if text[i] == '-' {
		i++
	}
	first := i
	if i = skipDigits(text, i); i == first || text[first] == '0' && i > first+1 {
		return malformed
	}
	if i < len(text) && text[i] == '.' {
		first = i + 1
		if i = skipDigits(text, first); i == first {
			return malformed
		}
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		first = i
		if i = skipDigits(text, first); i == first {
			return malformed
		}
	}
	return i
}

func skipDigits(text []byte, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
		i++
	}
	return i
}
