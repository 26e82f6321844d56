package oauthclient

// What cuts JSON text apart, for its tests.
var (
	EachMember  = eachMember
	EachElement = eachElement
	PlainResult = plainResult
)
