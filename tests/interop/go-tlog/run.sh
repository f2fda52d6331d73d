#!/bin/sh
# Verifies a journal written by Attorn with Go's transparency log packages.
#
# Needs Go and golang.org/x/mod in GOPATH form. On Debian:
#   apt-get install golang-go golang-golang-x-mod-dev
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$root"
# The whole workspace's features, so that nothing is compiled that the tests have not compiled.
cargo build --quiet --workspace --example write_log
target/debug/examples/write_log "$work/log" 66500 > "$work/vkey"
vkey=$(cat "$work/vkey")
cd "$here"
GO111MODULE=off GOPATH="${GOPATH:-/usr/share/gocode}" GOCACHE="$work/cache" go build -o "$work/go-tlog" main.go

"$work/go-tlog" "$work/log" "$vkey" "$work/log/bundle.json"

# The other verifier must also find what is wrong.
refuse() {
    if "$work/go-tlog" "$work/bad" "$vkey" "$work/bad/bundle.json" 2> "$work/error"; then
        echo "go-tlog accepted a log with $1" >&2
        exit 1
    fi
    echo "go-tlog refused a log with $1: $(cat "$work/error")"
    rm -rf "$work/bad"
}
cp -r "$work/log" "$work/bad"
sed -i 's/dec_300"/dec_301"/' "$work/bad/tile/entries/001"
refuse "a changed entry"
cp -r "$work/log" "$work/bad"
printf 'x' | dd of="$work/bad/tile/0/007" bs=1 seek=100 conv=notrunc 2> /dev/null
refuse "a changed tile"
cp -r "$work/log" "$work/bad"
sed -i '2s/.*/66499/' "$work/bad/checkpoint"
refuse "a changed checkpoint"
cp -r "$work/log" "$work/bad"
sed -i 's/dec_255"/dec_254"/' "$work/bad/bundle.json"
refuse "a changed bundle"
