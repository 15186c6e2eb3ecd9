#!/bin/sh
# Measures one GPU in at most seven minutes, offline, with nothing of this project installed; "cpu"
# tries the same on a CPU. What it writes, and where: benchmarks/README.md.
set -eu
cd "$(dirname "$0")/.."
begin=$(date +%s)
[ $# -gt 0 ] || set -- cuda
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" benchmarks/checkout.py "$work/site"
export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export TRITON_CACHE_DIR="$work/triton" # the tests compile much of what is then measured
. benchmarks/parts.sh

# Other plugins of pytest may warn, and a warning is an error; eight processes compile at once.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
side_by_side=$("$PYTHON" -c 'import xdist; print("-p xdist -n 8")' 2>/dev/null || true)
part tests 110 "$PYTHON" -P -m pytest -q -p no:cacheprovider $side_by_side -m gpu \
  tests/gpu tests/autotune/test_bench_gpu.py
tail -n 20 "$OUT/tests.txt"

{ nvidia-smi -q -d CLOCK,POWER,TEMPERATURE || true; "$PYTHON" -m pip list; } >"$OUT/machine.txt" 2>&1
left=$((395 - $(date +%s) + begin))
part gpu $((left + 10)) "$PYTHON" benchmarks/gpu.py --device "$1" --seconds "$left" --save "$OUT/gpu.json"
cat "$OUT/gpu.txt"
(cd "$OUT" && tar -czf gpu.tar.gz ./*.txt ./*.json ./*.log)
finish
