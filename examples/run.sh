#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs an example in a directory of its own, and checks what it prints.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
case $(basename "$1") in
hello)
    [ "$("$1" "$dir/hello.blz")" = "El Tarter" ]
    [ "$("$1" "$dir/hello.blz" | wc -l)" = 2 ] # the second run finds the first one's too
    ;;
observe)
    "$1" "$dir" | grep '^remote notes '
    ;;
conflict)
    "$1" "$dir" >"$dir/told"
    cat "$dir/told"
    # Of two values written in the same moment either may be the first.
    grep -Eqx 'cities\.people: (4422 4560|4560 4422)' "$dir/told"
    grep -Eqx 'notes\.text: ("snow" "snow from the north"|"snow from the north" "snow")' "$dir/told"
    tail -n 3 "$dir/told" | cmp - <<'EOF'
0 left
cities {"name":"Canillo","people":4560}
notes {"text":"snow from the north"}
EOF
    ;;
esac
