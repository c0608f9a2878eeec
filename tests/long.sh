#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The long versions of the tests, for as many minutes as wanted:
#
#   long.sh sim   TEST_DIR MINUTES SEED            random histories, a new seed each round
#   long.sh crash TEST_DIR MINUTES SEED            kills and recoveries, a new seed each round
#   long.sh fuzz  BUILD_DIR MINUTES SEED [TARGET]  each libFuzzer target for that long
#
# A failure prints the command that repeats it.
set -eu
kind=$1 dir=$2 minutes=$3 seed=$4
shift 4
root=$(cd "$(dirname "$0")/.." && pwd)
seed=${seed:-$(date +%s)}
end=$(($(date +%s) + minutes * 60))

# rounds VARIABLES PROGRAM...: runs the programs with rising seeds until the time is over.
rounds() {
    variables=$1
    shift
    round=0
    while :; do
        for program in "$@"; do
            # shellcheck disable=SC2086
            if ! env $variables BLAZEDB_SEED="$seed" "$dir/$program" >"$dir/long.log" 2>&1; then
                tail -n 40 "$dir/long.log" >&2
                echo "FAILED; to repeat: $variables BLAZEDB_SEED=$seed $dir/$program" >&2
                exit 1
            fi
            round=$((round + 1))
            printf '\r%d runs, seed %s, %d s left   ' "$round" "$seed" \
                "$((end - $(date +%s)))" >&2
        done
        seed=$((seed + 1))
        [ "$(date +%s)" -lt "$end" ] || break
    done
    printf '\n%s: %d runs, no failure\n' "$kind" "$round"
}

case $kind in
sim)
    programs=$(cd "$dir" && ls | grep -E '(property|random|converge).*_test$')
    # shellcheck disable=SC2086
    rounds "BLAZEDB_LONG=1" $programs
    ;;
crash)
    programs=$(cd "$dir" && ls | grep -E '(kill|crash).*_test$')
    # shellcheck disable=SC2086
    rounds "BLAZEDB_LONG=1" $programs
    ;;
fuzz)
    [ $# -gt 0 ] || set -- $(cd "$dir" && ls | sed -n 's/^fuzz_//p')
    for target in "$@"; do
        corpus="$dir/corpus/$target"
        mkdir -p "$corpus"
        echo "fuzz: $target for $minutes minutes; new inputs go to $corpus" >&2
        "$dir/fuzz_$target" -max_total_time=$((minutes * 60)) -timeout=20 -rss_limit_mb=4096 \
            -seed="$((seed % 4294967295 + 1))" -print_final_stats=1 \
            -artifact_prefix="$dir/finding-$target-" \
            "$corpus" "$root/tests/corpus/$target" 2>"$dir/fuzz_$target.log" || {
            tail -n 60 "$dir/fuzz_$target.log" >&2
            exit 1
        }
        grep -E 'number_of_executed_units|new_units_added' "$dir/fuzz_$target.log" >&2 || true
    done
    ;;
esac
