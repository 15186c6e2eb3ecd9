#!/bin/sh
# Measures a store under many workers. What it writes, and where: benchmarks/README.md.
set -eu
cd "$(dirname "$0")/.."
set -- cpu # dash hands no arguments to what it sources
. benchmarks/parts.sh
export OMP_NUM_THREADS=1

part load-sqlite 600 "$PYTHON" benchmarks/load.py --workers 16
folder=$(mktemp -d)
chmod 711 "$folder"
if url=$(.ci/postgres "$folder/postgres"); then
  part load-postgresql 900 "$PYTHON" benchmarks/load.py --workers 64 --trials 100 "$url"
  kill "$(head -n 1 "$folder/postgres/server/data/postmaster.pid")"
fi
rm -rf "$folder"
finish
