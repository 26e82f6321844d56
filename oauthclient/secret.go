package oauthclient

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
)

// redacted is what every rendering of a secret shows.
const redacted = "[redacted]"

// Secret holds a token, a code, a state, a PKCE verifier or a client secret.
// Every way of rendering it (fmt verbs, log/slog, JSON and other text
// encodings) shows "[redacted]"; only [Secret.Reveal] gives the value. The
// value sits behind a pointer, so it does not show either when a struct that
// holds a Secret in an unexported field is printed.
//
// The zero Secret is empty. Secrets are immutable and safe for concurrent use.
type Secret struct{ value *string }

// NewSecret wraps value. An empty value gives the zero Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal returns the value itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal compares in constant time for values of one length.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// revealAll returns the values of secrets.
func revealAll(list []Secret) (values []string) {
	for _, s := range list {
		values = append(values, s.Reveal())
	}
	return values
}

// secrets wraps values.
func secrets(values []string) (list []Secret) {
	for _, value := range values {
		list = append(list, NewSecret(value))
	}
	return list
}

// fingerprint returns a hash that tells secrets apart and gives none away.
func (s Secret) fingerprint() string {
	sum := sha256.Sum256([]byte("mcpoauth secret " + s.Reveal()))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20])
}

// String implements [fmt.Stringer].
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format implements [fmt.Formatter] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// UnmarshalText implements [encoding.TextUnmarshaler], which JSON uses as well,
// for secrets in a host's configuration. What MarshalText returned is an error:
// the secret is lost.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		return errors.New("oauthclient: the text is that of a redacted secret")
	}
	*s = NewSecret(string(text))
	return nil
}

// MarshalText implements [encoding.TextMarshaler], which JSON uses as well. A
// secret cannot be stored this way; see [Credentials.MarshalBinary].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
