#!/bin/sh
# Installs the Debian packages that building and testing Catmint takes. Changes nothing, and takes
# no time, if they are all there.
#
# Arguments are further packages. As root, or where sudo works, it installs them; otherwise it prints the one command to run and
# stops.
#
# CATMINT_SKIP_SETUP=1 skips it: on other distributions, with the same programs from elsewhere.
set -eu

# What needs them, from left to right: cgo and the C library, its tests in C++; libibverbs and
# librdmacm with the Soft-RoCE provider; stock rping and ibv_devinfo, rdma(8) and tc(8) for the
# tests; the virtual machines; callgrind, memcheck and strace; the C style check; the checks of the manual
# page and of a shell's completion.
packages="gcc g++ libc6-dev make pkg-config git ca-certificates
	libibverbs-dev librdmacm-dev ibverbs-providers
	rdmacm-utils ibverbs-utils iproute2 kmod
	qemu-system-x86
	valgrind libc6-dbg strace
	clang-format
	groff-base zsh $*"

# The Go release that go.mod asks for, or later: go fetches that release itself if it may.
go_needed=1.21

say() { echo "setup: $*" >&2; }

if [ "${CATMINT_SKIP_SETUP:-}" = 1 ]; then
	exit 0
fi

if ! command -v go >/dev/null; then
	say "no go in PATH: install Go $go_needed or later, https://go.dev/doc/install"
	exit 1
fi
have=$(go env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9]*\.[0-9]*\).*/\1/p')
oldest=$(printf '%s\n%s\n' "$go_needed" "$have" | sort -V | head -n 1)
if [ "$oldest" != "$go_needed" ]; then
	say "Go ${have:-of an unknown release} is too old: $go_needed or later is needed"
	exit 1
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	say "this is no Debian: install what these packages hold, then set CATMINT_SKIP_SETUP=1:"
	# shellcheck disable=SC2086 # a list of words
	say $packages
	exit 1
fi

# shellcheck disable=SC2086
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null |
	sed -n 's/ installed$//p' | tr '\n' ' ' || true)
missing=
for package in $packages; do
	case " $installed" in
	*" $package "*) ;;
	*) missing="$missing $package" ;;
	esac
done
if [ -z "$missing" ]; then
	exit 0
fi

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
	sudo=sudo
else
	say "packages are missing, and you are not root; please run:"
	echo "sudo sh -c 'apt-get update && $install'"
	exit 1
fi
say "installing$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive $install -qq
