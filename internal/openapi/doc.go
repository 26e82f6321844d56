// Package openapi checks httpapi/openapi.json: that it is a valid OpenAPI
// document, and that every answer in the tests of package httpapi is as it
// says. It is a module of its own because only it needs a validator.
package openapi
