// Package e2e has the tests that need a browser: examples/web in headless
// Chromium, with real windows, cookies and policies. It has no code of its own.
//
//	make e2e
//
// Pictures of what was tested go to results/e2e; `make screenshots` makes those
// in docs/images.
package e2e
