//go:build !cgo

package main

// leak has no C to leak through.
func leak() int { return 0 }
