package storetest

import "testing"

// Case is one case of the suite, for the tests that prove its teeth.
type Case struct {
	Name string
	Run  func(t testing.TB, open func(testing.TB) Backend)
}

// Cases returns the cases that Run goes through.
func Cases() []Case {
	var cases []Case
	for _, c := range allCases() {
		cases = append(cases, Case{Name: c.name, Run: c.run})
	}
	return cases
}
