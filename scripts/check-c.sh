#!/bin/sh
# Static checks of the C sources: their format, and that each public header stands alone, in C and
# in C++, without a warning.
set -eu

cd "$(dirname "$0")/.."
status=0

# Tracked files and new ones, so that a check before a commit sees them.
sources=$(git ls-files --cached --others --exclude-standard -- '*.c' '*.h' '*.cc' '*.cpp' | sort -u |
	while IFS= read -r file; do [ ! -e "$file" ] || echo "$file"; done)
# shellcheck disable=SC2086 # file names without spaces, by convention
if [ -n "$sources" ] && ! clang-format --dry-run --Werror $sources; then
	echo "check-c: run clang-format -i on the files above" >&2
	status=1
fi

strict="-Wall -Wextra -Werror -pedantic -fsyntax-only -Iinclude"
# shellcheck disable=SC2086 # options, one a word
for header in include/demi/*.h; do
	[ -e "$header" ] || continue
	name=${header#include/}
	for std in c11 c17; do
		printf "#include <%s>\ntypedef int not_empty;\n" "$name" | ${CC:-cc} -x c -std=$std $strict - || status=1
	done
	for std in c++11 c++17; do
		printf "#include <%s>\ntypedef int not_empty;\n" "$name" | ${CXX:-c++} -x c++ -std=$std $strict - || status=1
	done
done
exit $status
