// Package redistest starts real Redis servers for tests and examples, and does
// to them what production does: kills, pauses, restarts with and without their
// data, fails over, cuts the network.
//
// In a test:
//
//	server := redistest.Run(t, redistest.Options{})
//	store, err := redisstore.New(ctx, redisstore.Config{URL: server.URL()})
//	server.Kill()
//	server.Restart()
//
// Elsewhere, [Start], [StartCluster], [StartSentinel] and [NewProxy] return
// errors instead, and the caller stops what it has started.
//
// The binary is found in PATH. Without it [Start] returns [ErrMissing]; a test
// is skipped with a message that says how to install it, and fails where a
// Redis is promised: with CI or MCPOAUTH_REQUIRE_REDIS set in the environment.
//
// All servers listen on the loopback interface, keep their files in a
// directory of their own under the system's temporary one, and die with the
// process that started them (on Linux even if it is killed).
//
// # Concurrency
//
// Everything here is safe for concurrent use. Starting, stopping and
// restarting one Server exclude each other.
//
// # Security
//
// For tests only: certificates and passwords are made up on the spot.
package redistest
