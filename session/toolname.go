package session

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// maxToolName is the length of the longest tool name that all models take.
const maxToolName = 64

// A tool's name for a model ends with a mark of its session, so that it stays the
// same whatever other sessions come and go. A name that a model would not take is
// changed, and made unique with a hash of itself. The character before the
// session's mark says which of the two it is.
const (
	markLen      = 10 // of a session's key: 50 random bits
	hashLen      = 8  // of a changed name
	maxUnchanged = maxToolName - 1 - markLen
	asItIs       = '_'
	changed      = '-'
)

// sessionMark returns the mark of a session.
func sessionMark(key string) string { return strings.ToLower(key[:markLen]) }

// toolName returns the name of a session's tool for a model.
func toolName(key, tool string) string {
	if fitsModel(tool) {
		return tool + string(asItIs) + sessionMark(key)
	}
	return changedName(tool) + string(changed) + sessionMark(key)
}

// splitToolName takes a name of toolName apart.
func splitToolName(name string) (tool, mark string, isChanged, ok bool) {
	at := len(name) - markLen - 1
	if at < 1 || len(name) > maxToolName || name[at] != asItIs && name[at] != changed {
		return "", "", false, false
	}
	return name[:at], name[at+1:], name[at] == changed, true
}

// fitsModel reports whether every model takes a name, with a mark behind it.
func fitsModel(tool string) bool {
	if tool == "" || len(tool) > maxUnchanged || !isNameByte(tool[0]) || strings.IndexByte("-0123456789", tool[0]) >= 0 {
		return false
	}
	for i := range len(tool) {
		if !isNameByte(tool[i]) {
			return false
		}
	}
	return true
}

func isNameByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_' || b == '-'
}

// changedName returns what stands for a name that no model takes: what can be
// read of it, and a hash of all of it.
func changedName(tool string) string {
	var readable strings.Builder
	gap := true // no name begins with a digit or a gap
	for i := range len(tool) {
		if readable.Len() == maxUnchanged-1-hashLen-1 {
			break
		}
		switch b := tool[i]; {
		case isNameByte(b) && b != '-':
			if readable.Len() == 0 && '0' <= b && b <= '9' {
				readable.WriteByte('_')
			}
			readable.WriteByte(b)
			gap = false
		case !gap:
			readable.WriteByte('_')
			gap = true
		}
	}
	if readable.Len() == 0 {
		readable.WriteString("tool")
	}
	sum := sha256.Sum256([]byte("mcpoauth tool " + tool))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
	return readable.String() + "_" + hash[:hashLen]
}
