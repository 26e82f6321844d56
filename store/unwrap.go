package store

// Wrapper is implemented by a store that adds something to another one, such as
// metrics. [Find] then finds the optional abilities of that other store.
type Wrapper interface {
	// Unwrap returns the store that this one wraps.
	Unwrap() SessionStore
}

// Find returns the first of s and the stores that it wraps that has an optional
// ability, such as [Ephemeral] or [Counter].
func Find[Ability any](s SessionStore) (ability Ability, ok bool) {
	for s != nil {
		if ability, ok = s.(Ability); ok {
			return ability, true
		}
		wrapper, wraps := s.(Wrapper)
		if !wraps {
			break
		}
		s = wrapper.Unwrap()
	}
	return ability, false
}
