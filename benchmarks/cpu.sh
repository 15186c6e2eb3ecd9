#!/bin/sh
# Measures one CPU thread. What it writes, and where: benchmarks/README.md.
set -eu
cd "$(dirname "$0")/.."
set -- cpu # dash hands no arguments to what it sources
. benchmarks/parts.sh
export OMP_NUM_THREADS=1

bench resnet50 900 --device cpu --shapes resnet50
bench small 300 --device cpu --shapes small
finish
