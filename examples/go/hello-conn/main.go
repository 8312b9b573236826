// Hello-conn connects to a server such as rping-demi -s, sends "hello" and prints the echo.
package main

import (
	"fmt"
	"log"
	"os"

	"catmint/rdmanet"
)

func main() {
	conn, err := rdmanet.Dial("rdma", os.Args[1]+":7174")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, "hello")
	echo := make([]byte, 5)
	if _, err = conn.Read(echo); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("echoed: %s\n", echo)
	if err = conn.Close(); err != nil {
		log.Fatal(err)
	}
}
