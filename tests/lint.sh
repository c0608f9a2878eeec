#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The rules that a tool can check. Prints every breach and fails if there is one.
set -eu
cd "$(dirname "$0")/.."
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

breach() {
    echo "$*" | tee -a "$breaches" >&2
}

# on_all_cores COMMAND...: COMMAND with some of the words of the input after it, a process a core.
on_all_cores() {
    xargs -r -n 16 -P "$(nproc 2>/dev/null || echo 2)" "$@"
}

files=$(git ls-files -co --exclude-standard '*.c' '*.h')

# Formatting.
complaints=$(echo "$files" | on_all_cores clang-format --dry-run -Werror 2>&1) ||
    breach "not formatted: ./dev fmt: $(echo "$complaints" | sed -n '/violations/s/:.*//p' | sort -u)"

# The licence line.
for file in $files; do
    head -n 1 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
        breach "$file: the first line is not the SPDX line"
done

# Module edges: src/DEPS says who may include whom, and who owns an external header.
for module in src/*/; do
    module=$(basename "$module")
    grep -q "^$module:" src/DEPS || breach "src/DEPS: no line for $module"
    allowed=" $(sed -n "s/^$module://p" src/DEPS) $module "
    for file in src/"$module"/*.[ch]; do
        [ -e "$file" ] || continue
        for included in $(sed -n 's|^#include "\([a-z]*\)/.*|\1|p' "$file" | sort -u); do
            case $allowed in
            *" $included "*) ;;
            *) breach "$file: includes $included/, which src/DEPS does not allow $module" ;;
            esac
        done
        for private in $(sed -n 's|^#include "\([a-z]*\)/[a-z_]*_priv.h".*|\1|p' "$file"); do
            [ "$private" = "$module" ] || breach "$file: includes a private header of $private"
        done
    done
done
sed -n 's/^external \(.*\): \(.*\)/\1 \2/p' src/DEPS | while read -r header owner; do
    for file in $(grep -l "#include <$header>" src/*/*.[ch] 2>/dev/null); do
        case $file in
        src/"$owner"/*) ;;
        *) breach "$file: includes <$header>, which belongs to $owner" ;;
        esac
    done
done

# The command and the examples stand on the public API.
for file in $(git ls-files -co --exclude-standard 'tools/blazedb/*.[ch]' 'examples/*.c'); do
    if sed -n 's|^#include "\(.*\)"|\1|p' "$file" | grep -q /; then
        breach "$file: includes more than the public API"
    fi
done

# What a header shows of an example is in it, but for line breaks and comments.
flatten() {
    sed 's|/\*[^*]*\*/||g' | tr -s ' \n' ' '
}
for header in include/blazedb/*.h; do
    example=$(sed -n 's|^ \* As in \(examples/[a-z]*\.c\).*:$|\1|p' "$header")
    [ -n "$example" ] || continue
    shown=$(sed -n '/^ \* As in examples/,/^ \*\//s/^ \*     //p' "$header" | flatten)
    case $(flatten <"$example") in
    *"$shown"*) ;;
    *) breach "$header: shows what is not in $example" ;;
    esac
done

# Every header compiles alone; the public ones as strict C99 and as C++ too.
for header in include/blazedb.h include/blazedb/*.h; do
    for compiler in "cc -std=c99 -xc" "c++ -std=c++11 -xc++"; do
        # shellcheck disable=SC2086
        printf '#include "%s"\nextern int unit;\n' "$header" |
            $compiler -pedantic -Wall -Wextra -Werror -Iinclude -I. -fsyntax-only - ||
            breach "$header: does not compile alone with $compiler"
    done
done
# shellcheck disable=SC2016
for header in $(echo src/*/*.h | on_all_cores sh -c '
    for header in "$@"; do
        printf "#include \"%s\"\nextern int unit;\n" "${header#src/}" |
            cc -std=gnu11 -xc -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude -Isrc -Itests \
                -fsyntax-only - || echo "$header"
    done' sh); do
    breach "$header: does not compile alone"
done

if [ -s "$breaches" ]; then
    echo "lint: $(wc -l <"$breaches") breaches" >&2
    exit 1
fi
echo "lint: clean"
