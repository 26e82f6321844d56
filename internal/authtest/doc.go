// Package authtest is an OAuth authorization server for tests, examples and
// benchmarks. It speaks real HTTP on the loopback interface, records what it
// was sent, and can be made to fail and deviate in the ways real servers do.
//
//	as := authtest.New(authtest.Options{})
//	defer as.Close()
//	// … point a client at as.Issuer() …
//	callback, err := as.Approve(ctx, authURL) // the user says yes
//	exchanges := as.TokenRequests("authorization_code")
//
// The zero Options are the strict, well-behaved server: authorization code with
// PKCE S256, exact redirect URIs, single-use codes, rotating refresh tokens
// with reuse detection, dynamic client registration, iss in the authorization
// response. Every deviation is an option of its own.
//
// # Concurrency
//
// A Server is safe for concurrent use.
//
// # Security
//
// It approves everything without a login. It is for loopback use only.
package authtest
