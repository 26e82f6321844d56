package main

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/mcpoauth/mcpoauth/session"
)

// readyz answers 503 while this replica should get no requests. A stranger learns
// which check failed, and the log why.
func readyz(logger *slog.Logger, manager *session.Manager) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found := manager.Health(r.Context())
		if err := found.Err(); err != nil {
			logger.Warn("not ready", "error", err)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		for _, check := range []struct {
			name string
			err  error
		}{{"store", found.Store}, {"keys", found.Keys}, {"clock", found.Clock}} {
			result := "ok"
			if check.err != nil {
				result = "failed"
			}
			fmt.Fprintln(w, check.name+":", result)
		}
	}
}
