package main

import (
	"context"
	"errors"
	"os"
)

func testMain(
	ctx context.Context, cancel context.CancelCauseFunc, args []string, std streams, signals <-chan os.Signal,
) (int, error) {
	return 0, errors.New("soon")
}
