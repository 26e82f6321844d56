// Package pgtest starts real PostgreSQL servers for tests, and stops and
// restarts them with their data.
//
//	server := pgtest.Run(t, pgtest.Options{})
//	db, err := sql.Open("pgx", server.URL())
//	server.Kill()
//	server.Restart()
//
// It brings no driver. The programs are found in PATH, and where Debian has
// them. Without them a test is skipped with a message that says how to install
// them; it fails where a PostgreSQL is promised: with CI or
// MCPOAUTH_REQUIRE_POSTGRES set in the environment.
//
// Servers listen on the loopback interface, keep their files in a directory of
// their own under the system's temporary one, and end with the process that
// started them (on Linux even if it is killed). PostgreSQL refuses to run as
// root, so for root the servers run as the user postgres.
//
// # Concurrency
//
// Everything here is safe for concurrent use. Starting and stopping one Server
// exclude each other.
//
// # Security
//
// For tests only: every user of the machine may connect.
package pgtest
