#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Two databases in step through a hub, on real data, with every claim checked:
#
#   1. database A takes in the cities of the world
#   2. a hub starts; A is shared through it; B joins, another process with a copy of its own
#   3. the hub stops; A and B are edited apart, also against each other
#   4. the hub starts again; both sync; they are equal, and nothing that was written is lost
#
# It uses nothing but the command. BLAZEDB names it; `./dev demo` builds it first.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
blazedb=${BLAZEDB:-$root/build/release/blazedb}
[ -x "$blazedb" ] || {
    echo "demo: no command at $blazedb: run ./dev build, or ./dev demo" >&2
    exit 1
}

# ---- a place to work in, which goes away however this ends ----

work=$(mktemp -d "${TMPDIR:-/tmp}/blazedb-demo.XXXXXX")
hub=
cleanup() {
    code=$?
    trap - EXIT
    if [ -n "$hub" ]; then
        kill "$hub" 2>/dev/null || true
        wait "$hub" 2>/dev/null || true
    fi
    rm -rf "$work"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- telling and checking ----

if [ -t 1 ]; then
    bold=$(printf '\033[1m') green=$(printf '\033[32m') plain=$(printf '\033[0m')
else
    bold='' green='' plain=''
fi

step() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

say() {
    printf '  %s\n' "$*"
}

fail() {
    printf 'demo: FAILED: %s\n' "$*" >&2
    exit 1
}

# same WHAT X Y: the claim that X and Y are equal.
same() {
    [ -n "$2" ] || fail "$1: nothing there"
    [ "$2" = "$3" ] || fail "$1: \"$2\" is not \"$3\""
    printf '  %sok%s  %s\n' "$green" "$plain" "$1"
}

# has WHAT TEXT PART: the claim that PART occurs in TEXT.
has() {
    case $2 in
    *"$3"*) printf '  %sok%s  %s\n' "$green" "$plain" "$1" ;;
    *) fail "$1: no $3 in $2" ;;
    esac
}

# field NAME JSON: the first value of that name, without quotes.
field() {
    printf '%s\n' "$2" | sed -n "1s/^.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

size() {
    du -sk "$1" | awk '{ printf "%.1f MB", $1 / 1024 }'
}

start_hub() {
    rm -f "$work/ready"
    mkfifo "$work/ready"
    "$blazedb" serve "$work/hub" --listen "$1" >"$work/ready" &
    hub=$!
    # Waits for the line; ends at once if the hub cannot start.
    read -r listening <"$work/ready" || fail "the hub did not start"
    url=$(field listening "$listening")
}

stop_hub() {
    kill "$hub"
    wait "$hub" || fail "the hub did not end in good order"
    hub=
}

a=$work/a.blz
b=$work/b.blz
began=$(date +%s)

# ---- 1 ----

step "1. Database A takes in the cities"
data=$root/examples/data/cities.jsonl
if [ -r "$root/../shared/data/cities.jsonl.gz" ] && command -v gzip >/dev/null; then
    gzip -dc "$root/../shared/data/cities.jsonl.gz" >"$work/cities.jsonl"
    data=$work/cities.jsonl
fi
lines=$(awk 'END { print NR }' "$data")
"$blazedb" create "$a" >/dev/null
result=$("$blazedb" import "$a" cities "$data")
say "$(field imported "$result") cities in $(field seconds "$result") s;" \
    "JSON $(size "$data"), database $(size "$a")"
same "every line is a record" "$(field imported "$result")" "$lines"
result=$("$blazedb" index "$a" cities country)
say "index on country in $(field seconds "$result") s"
found=$("$blazedb" find "$a" cities 'country = "AD" and lat > 42.5' --count)
say "cities in the north of Andorra: $(field count "$found")"

# ---- 2 ----

step "2. A hub starts, A is shared, B joins"
start_hub tcp://127.0.0.1:0
say "hub at $url, TLS 1.3"
result=$("$blazedb" share "$a" "$url")
code=$(field code "$result")
say "join code: $(printf '%.60s' "$code")..."
result=$("$blazedb" join "$b" "$code")
say "B has $(field records "$result") records after $(field seconds "$result") s;" \
    "$(size "$b") on disk"
status_a=$("$blazedb" status "$a")
status_b=$("$blazedb" status "$b")
same "B has as many records as A" "$(field records "$status_b")" "$(field records "$status_a")"
same "and the same digest, $(field digest "$status_a")" \
    "$(field digest "$status_b")" "$(field digest "$status_a")"

# ---- 3 ----

step "3. The hub stops; A and B are edited apart"
stop_hub
if "$blazedb" sync "$a" --timeout 2 >/dev/null 2>"$work/error"; then
    fail "a sync without a hub went well"
fi
say "without the hub: $(cat "$work/error")"

"$blazedb" find "$a" cities --limit 4 >"$work/four"
id() {
    field _id "$(sed -n "$1p" "$work/four")"
}
merged=$(id 1) rivals=$(id 2) revived=$(id 3) gone=$(id 4)
name_of() {
    field name "$(sed -n "$1p" "$work/four")"
}

"$blazedb" update "$a" cities "$merged" '{"population":3100}' >/dev/null
"$blazedb" update "$b" cities "$merged" '{"mayor":"Maria"}' >/dev/null
say "$(name_of 1): A writes its population, B its mayor"
"$blazedb" update "$a" cities "$rivals" '{"name":"named by A"}' >/dev/null
"$blazedb" update "$b" cities "$rivals" '{"name":"named by B"}' >/dev/null
say "$(name_of 2): A and B give it different names, B last"
"$blazedb" delete "$a" cities "$revived" >/dev/null
"$blazedb" update "$b" cities "$revived" '{"visited":true}' >/dev/null
say "$(name_of 3): A deletes it, then B updates it"
"$blazedb" update "$b" cities "$gone" '{"visited":true}' >/dev/null
"$blazedb" delete "$a" cities "$gone" >/dev/null
say "$(name_of 4): B updates it, then A deletes it"
[ "$(field digest "$("$blazedb" status "$a")")" != "$(field digest "$("$blazedb" status "$b")")" ] ||
    fail "A and B did not grow apart"

# ---- 4 ----

step "4. The hub starts again; both sync"
start_hub "$url"
sync_db() {
    result=$("$blazedb" sync "$2")
    say "$1: $(field sent "$result") sent, $(field received "$result") received," \
        "$(field sent_bytes "$result") + $(field received_bytes "$result") bytes," \
        "$(field seconds "$result") s"
}
sync_db A "$a"
sync_db B "$b"
sync_db A "$a"
status_a=$("$blazedb" status "$a")
status_b=$("$blazedb" status "$b")
same "A and B are equal again: $(field digest "$status_a")" \
    "$(field digest "$status_b")" "$(field digest "$status_a")"
same "with the same number of records" "$(field records "$status_b")" "$(field records "$status_a")"

record=$("$blazedb" get "$a" cities "$merged")
say "$record"
has "the record has what A wrote" "$record" '"population":3100'
has "and what B wrote" "$record" '"mayor":"Maria"'
same "on B as well" "$("$blazedb" get "$b" cities "$merged")" "$record"

record=$("$blazedb" get "$a" cities "$rivals")
has "of two names at once the later one is seen" "$record" '"name":"named by B"'
same "on B as well" "$("$blazedb" get "$b" cities "$rivals")" "$record"
conflicts=$("$blazedb" conflicts "$a" cities "$rivals")
say "$conflicts"
has "the winner is told" "$conflicts" '"winner":{"value":"named by B"'
has "and the name that lost is kept" "$conflicts" '"losers":[{"value":"named by A"'
same "on B as well" "$("$blazedb" conflicts "$b" cities "$rivals")" "$conflicts"

record=$("$blazedb" get "$a" cities "$revived")
has "the update after the delete brought the whole record back" "$record" '"visited":true'
has "with the fields that it had" "$record" "\"name\":\"$(name_of 3)\""
code=0
"$blazedb" get "$b" cities "$gone" >/dev/null 2>&1 || code=$?
same "the delete after the update stands" "$code" 1

"$blazedb" update "$a" cities "$rivals" '{"name":"agreed on"}' >/dev/null
sync_db A "$a"
sync_db B "$b"
same "writing the field settles the conflict, on B too" \
    "$("$blazedb" conflicts "$b" cities "$rivals" | awk 'END { print NR }')" 0
same "that a record was deleted and changed at once is still told" \
    "$("$blazedb" conflicts "$b" --count | tr -dc 0-9)" 2
"$blazedb" resolve "$a" cities "$revived" --keep >/dev/null
"$blazedb" resolve "$a" cities "$gone" --delete >/dev/null
sync_db A "$a"
sync_db B "$b"
same "until somebody says what is to be" "$("$blazedb" conflicts "$b" --count | tr -dc 0-9)" 0
"$blazedb" check "$a" >/dev/null && "$blazedb" check "$b" >/dev/null || fail "a database is damaged"
stop_hub

step "Every claim above was checked. $(($(date +%s) - began)) s in all."
