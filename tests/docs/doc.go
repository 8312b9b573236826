// Package docs holds the tests of what the documents promise: README's programs build and
// run, its links lead somewhere, and the make targets and options that it names exist.
//
// What lives here: tests that read documents. What must not: documents.
package docs
