#!/bin/sh
# The Debian packages that some tests use, installed when we are root and they are missing. Without them
# (another system, no root) those tests are skipped and say why.
set -eu
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
packages=
need chromium chromium
need strace strace
need unshare util-linux
need ip iproute2
need wrk wrk
[ -n "$packages" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed here, so some tests will be skipped:$packages"
    exit 0
fi
echo "installing Debian packages:$packages"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! { apt-get update && apt-get install --yes --no-install-recommends $packages; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
fi
rm -f "$log"
