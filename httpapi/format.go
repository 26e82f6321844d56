package httpapi

import (
	"fmt"
	"log/slog"
)

// Messages with a session ID, an authorization URL, a code or a state in them
// show only their type: to fmt, and to log/slog, which would take either fmt or
// JSON. Encoding them for their recipient is not affected.

// Format implements [fmt.Formatter].
func (ConnectSuccess) Format(f fmt.State, _ rune) { write(f, "ConnectSuccess") }

// LogValue implements [slog.LogValuer].
func (ConnectSuccess) LogValue() slog.Value { return slog.StringValue("httpapi.ConnectSuccess") }

// Format implements [fmt.Formatter].
func (AuthRequired) Format(f fmt.State, _ rune) { write(f, "AuthRequired") }

// LogValue implements [slog.LogValuer].
func (AuthRequired) LogValue() slog.Value { return slog.StringValue("httpapi.AuthRequired") }

// Format implements [fmt.Formatter].
func (CallbackRequest) Format(f fmt.State, _ rune) { write(f, "CallbackRequest") }

// LogValue implements [slog.LogValuer].
func (CallbackRequest) LogValue() slog.Value { return slog.StringValue("httpapi.CallbackRequest") }

// Format implements [fmt.Formatter].
func (DisconnectRequest) Format(f fmt.State, _ rune) { write(f, "DisconnectRequest") }

// LogValue implements [slog.LogValuer].
func (DisconnectRequest) LogValue() slog.Value { return slog.StringValue("httpapi.DisconnectRequest") }

// Format implements [fmt.Formatter].
func (CallToolRequest) Format(f fmt.State, _ rune) { write(f, "CallToolRequest") }

// LogValue implements [slog.LogValuer].
func (CallToolRequest) LogValue() slog.Value { return slog.StringValue("httpapi.CallToolRequest") }

// Format implements [fmt.Formatter]. It goes for [SessionSummary] too.
func (SessionStatus) Format(f fmt.State, _ rune) { write(f, "SessionStatus") }

// LogValue implements [slog.LogValuer]. It goes for [SessionSummary] too.
func (SessionStatus) LogValue() slog.Value { return slog.StringValue("httpapi.SessionStatus") }

// LogValue implements [slog.LogValuer].
func (SessionList) LogValue() slog.Value { return slog.StringValue("httpapi.SessionList") }

func write(f fmt.State, name string) { _, _ = f.Write([]byte("httpapi." + name)) }
