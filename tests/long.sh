#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The long versions of the tests, for as many minutes as wanted:
#
#   long.sh sim   TEST_DIR MINUTES SEED               the simulator on all cores for two thirds of
#                                                     the time, then random histories of the parts
#   long.sh crash TEST_DIR MINUTES SEED               kills and recoveries, new seeds each round
#   long.sh fuzz  BUILD_DIR MINUTES SEED [TARGET...]  each libFuzzer target for that long
#
# SEED may be empty. A failure prints the command that repeats it.
set -eu
kind=$1 minutes=$3 seed=$4
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(cd "$2" && pwd)
shift 4
seed=${seed:-$(date +%s)}
end=$(($(date +%s) + minutes * 60))

# The simulator, a process for each core, each with seeds of its own. Ctrl-C ends it with totals.
simulate() {
    cores=$(nproc 2>/dev/null || echo 2)
    : >"$dir/long.totals"
    interrupted=
    trap 'interrupted=1' INT
    i=0
    pids=
    while [ "$i" -lt "$cores" ]; do
        if [ "$i" = 0 ] && [ -t 2 ]; then # it tells how it goes
            "$dir/sim" --seed "$((seed + i))" --stride "$cores" --minutes "$1" >"$dir/sim.$i.log" &
        else
            "$dir/sim" --seed "$((seed + i))" --stride "$cores" --minutes "$1" >"$dir/sim.$i.log" \
                2>"$dir/sim.$i.err" &
        fi
        pids="$pids $!"
        i=$((i + 1))
    done
    failed=
    i=0
    for pid in $pids; do
        while :; do
            code=0
            wait "$pid" || code=$?
            kill -0 "$pid" 2>/dev/null || break # else it was Ctrl-C that ended the wait
        done
        if [ "$code" != 0 ] && [ "$code" -lt 128 ]; then
            failed=1
            [ ! -f "$dir/sim.$i.err" ] || tail -n 60 "$dir/sim.$i.err" >&2
        elif [ "$code" -ge 128 ] && [ -z "$interrupted" ]; then
            failed=1
            [ ! -f "$dir/sim.$i.err" ] || tail -n 60 "$dir/sim.$i.err" >&2
        fi
        sed -n 's/^total: //p' "$dir/sim.$i.log" >>"$dir/long.totals"
        i=$((i + 1))
    done
    trap - INT
    rm -f "$dir"/sim.*.err
    [ ! -t 2 ] || printf '\n' >&2
    [ -z "$failed" ] || exit 1
    totals
    [ -z "$interrupted" ] || exit 0
}

# Tests whose every seed is another history; each takes some seconds.
sim="crdt_rec_property_test db_model_test db_replica_test
    store_store_model_test sync_session_test query_plan_test codec_random_doc_test
    codec_key_test db_corrupt_test crdt_rec_small_model_test"

# Tests that kill processes, or cut and damage what they leave.
crash="db_crowd_test store_process_test db_db_test e2e_kill_test store_recovery_test"

# run PROGRAM: once, with the seed of this round.
run() {
    if ! (cd "$dir" && BLAZEDB_LONG=1 BLAZEDB_SEED="$seed" "./$1") >"$dir/long.log" 2>&1; then
        [ ! -t 2 ] || printf '\n' >&2
        tail -n 60 "$dir/long.log" >&2
        echo "FAILED; to repeat: (cd $dir && BLAZEDB_LONG=1 BLAZEDB_SEED=$seed ./$1)" >&2
        exit 1
    fi
    sed -n 's/^ *total: //p' "$dir/long.log" >>"$dir/long.totals"
    runs=$((runs + 1))
}

# What the runs counted, added up.
totals() {
    awk '{ n = $1; $1 = ""; sum[$0] += n } END { for (what in sum) printf "%s: %d%s\n", kind, \
        sum[what], what }' kind="$kind" "$dir/long.totals" | sort
}

# rounds PROGRAM...: all of them in turn, until the time is over. A round takes some thousands of
# seeds from its own on, so the next begins far away.
rounds() {
    runs=0
    : >"$dir/long.totals"
    left=$((minutes * 60))
    while :; do
        for program in "$@"; do
            [ ! -t 2 ] || printf '\r%d runs, seed %s, %d s left: %-28s' \
                "$runs" "$seed" "$left" "$program" >&2
            run "$program"
            left=$((end - $(date +%s)))
            [ "$left" -gt 0 ] || break 2
        done
        seed=$((seed + 1000003))
    done
    [ ! -t 2 ] || printf '\n' >&2
    totals
    echo "$kind: $runs runs, no failure"
}

# fuzz TARGET: for the minutes given. What it finds new is kept for the next time.
fuzz() {
    corpus="$dir/corpus/$1" log="$dir/corpus/$1.log"
    [ -x "$dir/fuzz_$1" ] || {
        echo "fuzz: no such target: $1; there are:" $(targets) >&2
        exit 2
    }
    mkdir -p "$corpus" "$root/tests/corpus/$1"
    echo "fuzz: $1 for $minutes min; what is new goes to $corpus" >&2
    "$dir/fuzz_$1" -max_total_time=$((minutes * 60)) -timeout=20 -rss_limit_mb=4096 \
        -seed=$((seed % 4294967295 + 1)) -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="$dir/finding-$1-" "$corpus" "$root/tests/corpus/$1" >"$log" 2>&1 || {
        tail -n 60 "$log" >&2
        finding=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        echo "FAILED; to repeat: $dir/fuzz_$1 $finding" >&2
        exit 1
    }
    sed -n 's/^stat::\(number_of_executed_units\|new_units_added\): */    \1 /p' "$log" >&2
}

targets() {
    (cd "$dir" && ls) | sed -n 's/^fuzz_\([a-z_]*\)$/\1/p'
}

case $kind in
sim)
    simulate "$(awk "BEGIN { print $minutes * 2 / 3 }")"
    # shellcheck disable=SC2086
    rounds $sim
    ;;
crash)
    # shellcheck disable=SC2086
    rounds $crash
    ;;
fuzz)
    # shellcheck disable=SC2046
    [ $# -gt 0 ] || set -- $(targets)
    for target in "$@"; do
        fuzz "$target"
    done
    echo "fuzz: $# targets, no finding"
    ;;
esac
