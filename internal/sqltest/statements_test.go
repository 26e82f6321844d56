package sqltest_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// tracer records the statements that go to PostgreSQL.
type tracer struct {
	mu         sync.Mutex
	statements []string
}

func (tr *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.statements = append(tr.statements, q.SQL)
	return ctx
}

func (tr *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take returns the statements since the last take, by their first word.
func (tr *tracer) take() (words []string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, statement := range tr.statements {
		word, _, _ := strings.Cut(statement, " ")
		words = append(words, word)
	}
	tr.statements = nil
	return words
}

// openTraced returns a store on the shared PostgreSQL, and what it sends there.
func openTraced(t *testing.T, cfg sqlstore.Config) (*sqlstore.Store, *tracer) {
	t.Helper()
	option, err := pgx.ParseConfig(sharedPostgres(t))
	require.NoError(t, err)
	tr := new(tracer)
	option.Tracer = tr
	db := stdlib.OpenDB(*option)
	t.Cleanup(func() { _ = db.Close() })
	cfg.DB, cfg.Dialect = db, sqlstore.Postgres
	s := open(t, cfg)
	tr.take()
	return s, tr
}

// Each operation is one statement, whatever comes of it.
func TestOneStatementPerOperation(t *testing.T) {
	t.Parallel()
	s, tr := openTraced(t, sqlstore.Config{})
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	var unlock func()
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"Get of nothing", func() { _, _, _ = s.Get(ctx, "k") }, "SELECT"},
		{"create", func() { _ = s.Swap(ctx, "k", nil, []byte("v"), later) }, "INSERT"},
		{"create again", func() { _ = s.Swap(ctx, "k", nil, []byte("v"), later) }, "INSERT"},
		{"Get", func() { _, _, _ = s.Get(ctx, "k") }, "SELECT"},
		{"replace", func() { _ = s.Swap(ctx, "k", []byte("v"), []byte("w"), later) }, "UPDATE"},
		{"conflict", func() { _ = s.Swap(ctx, "k", []byte("v"), []byte("w"), later) }, "UPDATE"},
		{"Extend", func() { _ = s.Extend(ctx, "k", later.Add(time.Hour)) }, "UPDATE"},
		{"ask", func() { _ = s.Swap(ctx, "k", nil, nil, time.Time{}) }, "SELECT"},
		{"take", func() { _ = s.Swap(ctx, "k", []byte("w"), nil, time.Time{}) }, "UPDATE"},
		{"Delete", func() { _ = s.Delete(ctx, "k") }, "DELETE"},
		{"Lock", func() { unlock, _ = s.Lock(ctx, "k", time.Minute) }, "INSERT"},
		{"unlock", func() { unlock() }, "DELETE"},
		{"Add", func() { _, _ = s.Add(ctx, "k", 1, later) }, "INSERT"},
	} {
		step.do()
		require.Equal(t, []string{step.want}, tr.take(), step.name)
	}
}

// A waiting Lock asks a few times a second, and a cancelled one no more.
func TestLockPolls(t *testing.T) {
	t.Parallel()
	s, tr := openTraced(t, sqlstore.Config{})
	unlock, err := s.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err)
	defer unlock()
	tr.take()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = s.Lock(ctx, "k", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.LessOrEqual(t, len(tr.take()), 30, "asks in two seconds: 10 to 200 ms apart, at growing intervals")
	time.Sleep(500 * time.Millisecond) // what does not happen takes time to see
	require.LessOrEqual(t, len(tr.take()), 1, "the last one may have been granted")
}

// Expired rows go with the writes of others, a bounded number at a time, and
// live ones stay.
func TestSweepIsBounded(t *testing.T) {
	t.Parallel()
	prefix := newPrefix()
	s, tr := openTraced(t, sqlstore.Config{TablePrefix: prefix, SweepInterval: time.Nanosecond})
	db := openPostgres(t, sharedPostgres(t))
	const expired, live = 12_500, 100
	_, err := db.Exec(`INSERT INTO `+prefix+`records SELECT n % 2, convert_to(n::text, 'UTF8'), '', '', 1 FROM generate_series(1, $1) n`, expired)
	require.NoError(t, err)
	_, err = db.Exec(`INSERT INTO `+prefix+`records SELECT 0, convert_to('live' || n, 'UTF8'), '', '', 99999999999999 FROM generate_series(1, $1) n`, live)
	require.NoError(t, err)
	_, err = s.Add(t.Context(), "old", 1, time.Unix(1, 0)) // begins the first interval
	require.NoError(t, err)
	count := func(table string) (n int) {
		require.NoError(t, db.QueryRow("SELECT count(*) FROM "+prefix+table).Scan(&n))
		return n
	}

	later := time.Now().Add(time.Hour)
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), later))
	require.Eventually(t, func() bool { return count("counts") == 0 }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, expired-10_000+live+1, count("records"), "a sweep deletes 10,000 rows of a table at most")
	var deletes int
	for _, word := range tr.take() {
		if word == "DELETE" {
			deletes++
		}
	}
	require.Equal(t, 11, deletes, "in portions of 1,000")

	require.Eventually(t, func() bool { // the rest goes a second later
		return s.Swap(t.Context(), "k", []byte("v"), []byte("v"), later) == nil && count("records") == live+1
	}, 30*time.Second, 10*time.Millisecond)
}
