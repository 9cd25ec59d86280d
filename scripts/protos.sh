#!/bin/sh
# Compile src/skerry/wire/protos/*.proto to descriptors and write them into binary.py, which is committed:
# the program reads no file for them and needs no compiler. Needs grpcio-tools; a test compares the two.
set -eu
cd "$(dirname "$0")/.."
folder=src/skerry/wire/protos
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc --proto_path="$folder" --include_imports \
    --descriptor_set_out="$out" "$folder"/*.proto
"${PYTHON:-.venv/bin/python}" - "$out" >"$folder/binary.py" <<'PYTHON'
import base64
import pathlib
import sys
import zlib

text = base64.b64encode(zlib.compress(pathlib.Path(sys.argv[1]).read_bytes(), 9)).decode()
print('"""The descriptors of the .proto files beside this one, compressed. Written by scripts/protos.sh."""\n')
print("DESCRIPTORS = (")
for at in range(0, len(text), 110):
    print(f'    "{text[at : at + 110]}"')
print(")")
PYTHON
