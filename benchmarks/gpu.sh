#!/bin/sh
# Measures one GPU in under 8 minutes, offline. What it writes, and where: benchmarks/README.md.
set -eu
cd "$(dirname "$0")/.."
set -- cuda # dash hands no arguments to what it sources
. benchmarks/parts.sh

common="--device cuda --no-first-steps"
fast="--backend triton"
main="--optimizer adan --optimizer adan-win2 --optimizer adamw --optimizer adamw-win
  --optimizer adamw-win2 --optimizer lamb-win2 --optimizer sgd"

part golden 90 "$PYTHON" -m pytest -q -m gpu tests/gpu tests/autotune/test_bench_gpu.py
bench first 45 --device cuda --shapes resnet50 $fast --optimizer adan --repeats 1 --against none
bench resnet50 65 $common --shapes resnet50
bench small 30 $common --shapes small $main
bench vit-b 30 $common --shapes vit-b $main
bench gpt2 45 $common --shapes gpt2 $main
bench gpt2-bfloat16 25 $common --shapes gpt2 --dtype bfloat16 $fast $main
bench gpt2-xl 60 $common --shapes gpt2-xl --repeats 3 $fast --optimizer adan --optimizer adamw-win2
part graph 25 "$PYTHON" benchmarks/graph.py --save "$OUT/graph.json"
part sweep 60 "$PYTHON" benchmarks/sweep.py --save "$OUT/sweep.json"
finish
