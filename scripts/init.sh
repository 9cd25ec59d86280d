#!/bin/sh
# Make or refresh .venv: `init.sh demo` installs what the demo needs, `init.sh dev` what the tests need too.
# A stamp holds the checksum of what was asked for, so a second run is over in a moment.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-demo}

find_python() {
    for name in python3.13 python3.12 python3.11 python3; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "Skerry needs Python 3.11 or newer; none was found on PATH." >&2
    exit 1
}

stamp=.venv/.skerry-$kind
sum=$(cat pyproject.toml constraints.txt scripts/init.sh | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then
    exit 0
fi
if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    echo "[1/3] making .venv with $("$python" --version)"
    "$python" -m venv .venv || {
        echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    }
else
    echo "[1/3] .venv is there"
fi
pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip"
bar=off
[ -t 1 ] && bar=on
echo "[2/3] pip"
$pip install --quiet --progress-bar "$bar" "pip>=25.1"
if [ "$kind" = dev ]; then
    echo "[3/3] Skerry with everything that the tests need (PyTorch and other runtimes: about 300 MB, a few minutes)"
    $pip install --quiet --progress-bar "$bar" --constraint constraints.txt --editable '.[all,openvino]' --group dev
else
    echo "[3/3] Skerry with hub and node (about 60 MB, a minute)"
    $pip install --quiet --progress-bar "$bar" --constraint constraints.txt --editable '.[node,hub]'
fi
echo "$sum" >"$stamp"
