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
esac
