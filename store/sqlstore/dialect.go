package sqlstore

import "strings"

// Dialect is a kind of database.
type Dialect int

const (
	// Postgres is PostgreSQL 12 or later, and what speaks its SQL.
	Postgres Dialect = iota + 1
	// SQLite is SQLite 3.42 or later.
	SQLite
)

// String returns the database's name.
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	}
	return "unknown dialect"
}

// now is the database's clock, in milliseconds since 1970. Expiries and leases
// are compared with it, so the clocks of the processes do not matter.
func (d Dialect) now() string {
	if d == SQLite {
		return "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
	}
	return "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
}

// bytes is the type of keys and values.
func (d Dialect) bytes() string {
	if d == SQLite {
		return "BLOB"
	}
	return "BYTEA"
}

// unlogged begins the name of a table that a crash may empty.
func (d Dialect) unlogged() string {
	if d == SQLite {
		return ""
	}
	return "UNLOGGED "
}

// later is the name of the function that returns the greater of two numbers.
func (d Dialect) later() string {
	if d == SQLite {
		return "max"
	}
	return "greatest"
}

// rowsThat begins a condition on rows that a query selects, and ends it. In
// PostgreSQL the query locks these rows, and passes over rows that others have
// locked. SQLite has one writer at a time.
func (d Dialect) rowsThat() (begin, end string) {
	if d == SQLite {
		return "rowid IN (SELECT rowid", ")"
	}
	return "ctid = ANY(ARRAY(SELECT ctid", " FOR UPDATE SKIP LOCKED))"
}

// The kinds of rows in the table of records.
const (
	kindRecord = "0"
	kindLease  = "1"
)

// statements are the SQL of one store. Parameters that several statements have:
// $1 is the key, $2 the value, $3 the stamp, $4 the expiry.
type statements struct {
	get, create, replace, absent, extend, remove string // of records
	lock, unlock                                 string // $2 and $3 are the token, $4 of lock the length in milliseconds
	add                                          string // $2 is the number, $3 the expiry
	sweep                                        []string
}

// replacer puts the dialect's words and the names of the tables into SQL.
func (d Dialect) replacer(prefix string) *strings.Replacer {
	begin, end := d.rowsThat()
	pairs := []string{
		"{records}", prefix + "records", "{counts}", prefix + "counts", "{schema}", prefix + "schema",
		"{record}", kindRecord, "{lease}", kindLease,
		"{now}", d.now(), "{bytes}", d.bytes(), "{unlogged}", d.unlogged(), "{later}", d.later(), "{rows that", begin, "}rows", end,
	}
	if d == SQLite {
		pairs = append(pairs, "$1", "?1", "$2", "?2", "$3", "?3", "$4", "?4", "$5", "?5")
	}
	return strings.NewReplacer(pairs...)
}

// create is for a record or a lease: it takes the place of an expired one. The
// stamp makes it succeed again when it is repeated after a lost answer.
const create = `INSERT INTO {records} AS r (kind, key, value, stamp, expiry) VALUES ({kind}, $1, $2, $3, {expiry})
	ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, stamp = excluded.stamp, expiry = excluded.expiry
	WHERE r.expiry <= {now} OR r.stamp = excluded.stamp`

// sweep deletes expired rows. The second comparison is for a row that was
// written again meanwhile.
const sweep = `DELETE FROM {table} WHERE {rows that FROM {table} WHERE expiry <= (SELECT {now}) ORDER BY expiry LIMIT $1}rows
	AND expiry <= (SELECT {now})`

func newStatements(d Dialect, prefix string) statements {
	r := d.replacer(prefix)
	creating := func(kind, expiry string) string {
		return r.Replace(strings.NewReplacer("{kind}", kind, "{expiry}", expiry).Replace(create))
	}
	const live = " WHERE kind = {record} AND key = $1 AND expiry > {now}"
	return statements{
		get:    r.Replace("SELECT value, expiry FROM {records}" + live),
		absent: r.Replace("SELECT count(*) FROM {records}" + live),
		create: creating("{record}", "$4"),
		replace: r.Replace(`UPDATE {records} SET value = $2, stamp = $3, expiry = $4
			WHERE kind = {record} AND key = $1 AND (stamp = $3 OR value = $5 AND expiry > {now})`),
		extend: r.Replace("UPDATE {records} SET expiry = {later}(expiry, $2)" + live),
		remove: r.Replace("DELETE FROM {records} WHERE kind = {record} AND key = $1"),
		lock:   creating("{lease}", "{now} + $4"),
		unlock: r.Replace("DELETE FROM {records} WHERE kind = {lease} AND key = $1 AND stamp = $2"),
		add: r.Replace(`INSERT INTO {counts} AS c (key, n, expiry) VALUES ($1, $2, $3)
			ON CONFLICT (key) DO UPDATE SET n = excluded.n + CASE WHEN c.expiry > {now} THEN c.n ELSE 0 END, expiry = excluded.expiry
			RETURNING n`),
		sweep: []string{
			r.Replace(strings.ReplaceAll(sweep, "{table}", "{records}")),
			r.Replace(strings.ReplaceAll(sweep, "{table}", "{counts}")),
		},
	}
}
