#!/usr/bin/env bash
# A training in a language of its own: AdamW in awk fits a line to noisy points. It says on stdout
# how far it is.
#
#   autotune search --search bash --steps 81 --optimizer adamw --trials 6 -- \
#       bash train.sh {lr} {betas} {weight_decay} {warmup_steps} {steps} {seed}
set -euo pipefail
exec awk -v lr="$1" -v betas="$2" -v decay="$3" -v rising="$4" -v steps="$5" -v seed="$6" '
function gradient(x, y) {
  error = w[1] * x + w[2] - y
  g[1] = 2 * error * x
  g[2] = 2 * error
}
function loss(   i, x, sum) {
  for (i = 0; i < 50; i++) {
    x = i / 25 - 1
    sum += (w[1] * x + w[2] - 0.6 * x + 0.2) ^ 2
  }
  return sum / 50
}
BEGIN {
  srand(seed)
  split(betas, b, ",")
  for (step = 1; step <= steps; step++) {
    x = 2 * rand() - 1
    gradient(x, 0.6 * x - 0.2 + 0.2 * rand() - 0.1)
    rate = lr * (step <= rising ? step / (rising + 1) : (steps - step + 1) / (steps - rising))
    for (i = 1; i <= 2; i++) {
      m[i] = b[1] * m[i] + (1 - b[1]) * g[i]
      v[i] = b[2] * v[i] + (1 - b[2]) * g[i] ^ 2
      mean = m[i] / (1 - b[1] ^ step)
      root = sqrt(v[i] / (1 - b[2] ^ step))
      w[i] -= rate * (mean / (root + 1e-8) + decay * w[i])
    }
    if (step % 9 == 0 || step == steps) {
      printf "autotune step=%d loss=%.9g\n", step, loss()
      fflush()
    }
  }
}'
