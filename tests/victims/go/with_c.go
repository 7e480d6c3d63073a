//go:build cgo

package main

// #include <stdlib.h>
import "C"

// leak takes 30,000 bytes in 3 blocks from malloc.
func leak() int {
	for i := 0; i < 3; i++ {
		C.malloc(10000)
	}
	return 3
}
