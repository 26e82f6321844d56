package redistest

import (
	"fmt"
	"strconv"
	"strings"
)

// Stats counts the commands that a server has executed since it started or
// since [Server.ResetStats], by name in lower case: "get", "client|caching".
// What this package itself asks the server is left out, and so are commands
// that only keep a connection alive or set it up.
type Stats map[string]int64

// ownCommands are the commands that say nothing about the use of a server.
var ownCommands = []string{
	"info", "config|resetstat", "config|get", "auth", "hello", "ping", "select", "command",
	"client|setinfo", "client|setname", "client|tracking", "client|list", "client|kill", "cluster|slots", "cluster|shards",
	"cluster|info", "cluster|meet", "cluster|addslotsrange",
}

// Total is the number of all commands.
func (s Stats) Total() int64 {
	var total int64
	for _, n := range s {
		total += n
	}
	return total
}

// CommandStats returns what INFO commandstats says.
func (s *Server) CommandStats() (Stats, error) {
	info, err := s.Info("commandstats")
	if err != nil {
		return nil, err
	}
	stats := make(Stats)
	for name, value := range info {
		name, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("redistest: INFO commandstats: %w", err)
		}
		stats[name] = n
	}
	for _, name := range ownCommands {
		delete(stats, name)
	}
	return stats, nil
}

// ResetStats sets the counters of [Server.CommandStats] to zero.
func (s *Server) ResetStats() error {
	_, err := s.Do("CONFIG", "RESETSTAT")
	return err
}

// UsedMemory is how many bytes the server's data and bookkeeping take.
func (s *Server) UsedMemory() (int64, error) {
	info, err := s.Info("memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info["used_memory"], 10, 64)
}

// Info returns a section of INFO by field.
func (s *Server) Info(section string) (map[string]string, error) {
	answer, err := s.Do("INFO", section)
	if err != nil {
		return nil, err
	}
	text, _ := answer.(string)
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}
