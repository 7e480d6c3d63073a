// Makes garbage and keeps some; speaks the protocol of victim.h. With "cgo" as its tag it also leaks through C.
//
// Expected: "done 499500 N": the sum of 0 to 999, and what leak() returned.
package main

import (
	"bufio"
	"fmt"
	"os"
)

var kept [][]byte

func main() {
	input := bufio.NewScanner(os.Stdin)
	fmt.Printf("ready %d\n", os.Getpid())
	input.Scan()
	sum := 0
	for i := 0; i < 1000; i++ {
		kept = append(kept, make([]byte, 10000))
		kept[i][0] = 1
		sum += i
	}
	fmt.Printf("done %d %d\n", sum, leak())
	input.Scan()
}
