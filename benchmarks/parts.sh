# Sourced by the scripts here, with the device: each part of a measurement has a time limit, and one
# that fails is told at the end but stops nobody.

PYTHON=${PYTHON:-python3}
OUT=${OUT:-benchmarks/results/$("$PYTHON" -c \
  "from autotune.bench.machine import label; print(label('$1'))")}
mkdir -p "$OUT"
failed=""

# part NAME SECONDS COMMAND...: run a command; what it says is in NAME.txt
part() {
  name=$1 limit=$2
  shift 2
  echo "$name (at most $limit s)" >&2
  # Interrupted, a benchmark still tells what it has measured.
  timeout -s INT -k 10 "$limit" "$@" >"$OUT/$name.txt" 2>"$OUT/$name.log" || failed="$failed $name($?)"
}

# bench NAME SECONDS OPTIONS...: run autotune bench step; its document is in NAME.json
bench() {
  name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$PYTHON" -m autotune bench step --save "$OUT/$name.json" "$@"
}

finish() {
  find "$OUT" -name '*.log' -empty -delete
  echo "results are in $OUT" >&2
  [ -z "$failed" ] || { echo "failed, see the .log there:$failed" >&2; exit 1; }
}
