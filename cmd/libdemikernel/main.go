package main

// A c-shared library is a main package; main is never called.
func main() {}
