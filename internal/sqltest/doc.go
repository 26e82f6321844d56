// Package sqltest has the tests of store/sqlstore, which need database drivers,
// and its benchmarks beside the other stores. It has no code of its own.
package sqltest
