package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"catmint/soft-roce/internal/kernel"
	"catmint/soft-roce/internal/roce"
	"catmint/soft-roce/testbed"
)

func fetchMain(
	ctx context.Context, cancel context.CancelCauseFunc, args []string, std streams, signals <-chan os.Signal,
) (int, error) {
	fs := pflag.NewFlagSet("fetch", pflag.ContinueOnError)
	version := fs.String("kernel", kernel.Newest, "newest, or a version such as 6.1")
	missing := fs.Bool("if-missing", false, "do nothing if the cache has one, or if this machine needs none")
	if err := parse(fs, args, std, "soft-roce fetch [flags]"); err != nil {
		return 0, err
	}
	if fs.NArg() > 0 {
		return 0, usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	defer limit(cancel, 0, signals)()
	if *missing && roce.NativePossible() == nil {
		return 0, nil
	}
	dir, err := testbed.CacheDir()
	if err != nil {
		return statusFailure, err
	}
	store := kernel.Store{Dir: dir, Log: std.err}
	get := store.Refresh
	if *missing {
		get = store.Get
	}
	k, err := get(ctx, *version)
	if err != nil {
		return statusIfCut(ctx, err)
	}
	fmt.Fprintf(std.out, "%s\t%s\n", k.Release, k.Root)
	return 0, nil
}
