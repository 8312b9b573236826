// Package headers tests that an edited C header rebuilds every package that includes it.
//
// Go's build cache looks at the files of a package's own folder, not at headers that its C
// includes from elsewhere: an edit of those would leave a stale binary without a warning.
// The remedy is a convention: a folder whose headers others include has a Go file that
// embeds them, and whoever includes them imports that package. The test here finds out
// who includes what and holds everybody to it. Nothing but that test belongs here.
package headers
