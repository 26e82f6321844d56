package interop_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// report is the line of the summary for one stack.
type report struct {
	name  string
	start time.Time
	steps []string
	took  time.Duration
	ok    bool
}

var summary struct {
	mu      sync.Mutex // guards reports
	reports []*report
}

func begin(t *testing.T, name string) *report {
	t.Helper()
	r := &report{name: name, start: time.Now()}
	t.Cleanup(func() {
		r.took = time.Since(r.start)
		summary.mu.Lock()
		defer summary.mu.Unlock()
		summary.reports = append(summary.reports, r)
	})
	return r
}

func (r *report) passed(step string) { r.steps = append(r.steps, step) }
func (r *report) finished()          { r.ok = true }

// printSummary prints a line for each stack that was tried.
func printSummary() {
	summary.mu.Lock()
	defer summary.mu.Unlock()
	slices.SortFunc(summary.reports, func(a, b *report) int { return strings.Compare(a.name, b.name) })
	for _, r := range summary.reports {
		verdict := "passed"
		if !r.ok {
			verdict = "FAILED after"
		}
		fmt.Printf("interop: %s: %s: %s (%.1fs)\n", r.name, verdict, strings.Join(r.steps, ", "), r.took.Seconds())
	}
}
