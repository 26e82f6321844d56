package main

import "strings"

// secrets are the fields of which only the beginning is shown.
var secrets = []string{
	"access_token", "client_secret", "code", "code_challenge", "code_verifier", "Mcp-Session-Id",
	"refresh_token", "sessionId", "state", "token",
}

// shorten keeps the beginning and the end of a secret, so that a reader recognizes it
// further down.
func shorten(secret string) string {
	const shown = 6
	if len(secret) <= 2*shown {
		return "…"
	}
	return secret[:shown] + "…"
}

// safe returns the value of a field as it may be shown.
func safe(field, value string) string {
	switch field {
	case "Authorization": // scheme and credentials
		scheme, credentials, _ := strings.Cut(value, " ")
		return scheme + " " + shorten(credentials)
	case "Cookie", "Set-Cookie": // name, value and attributes
		name, rest, _ := strings.Cut(value, "=")
		secret, attributes, more := strings.Cut(rest, ";")
		if more {
			attributes = ";" + attributes
		}
		return name + "=" + shorten(secret) + attributes
	case "authUrl", "Location": // the parameters are told where the URL is opened
		base, _, more := strings.Cut(value, "?")
		if more {
			base += "?…"
		}
		return base
	}
	for _, name := range secrets {
		if name == field {
			return shorten(value)
		}
	}
	return value
}
