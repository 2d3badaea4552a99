#!/usr/bin/env bash
# The figures of one GPU, each beside what the same run measures of the device (tests/bench/NOTES.md keeps them); where there
# are more, those of collectives between them too, beside NCCL's (VDIST_NCCL_SO_PATH).
#   PROGRAMS=build/bin MODEL=random:FOLDER tests/gpu/figures.sh      FOLDER has the config.json of Llama-3.1-8B, say
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=${PROGRAMS:?the folder of vdist-bench}
model=${MODEL:?\"random:\" and a folder with a config.json}
bench() {
  echo "\$ vdist-bench $1 tests/gpu/one_gpu.toml ${*:2}"
  "$programs/vdist-bench" "$1" "$here/one_gpu.toml" --set "model.path=$model" "${@:2}"
}
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
bench latency --prompt-tokens 1024 --tokens 128
bench latency --prompt-tokens 1024 --tokens 128 --set device.graphs=false
bench prefill --prompt-tokens 8192
bench batch --prompt-tokens 1024 --tokens 128 --sequences 64
bench start --prompt-tokens 64 --tokens 4

# Built beside the programs, or bundled beside them.
if [ "$(nvidia-smi --query-gpu=name --format=csv,noheader | wc -l)" -ge 2 ]; then
  for tests in "$programs/../tests" "$programs/../release/tests"; do
    if [ -x "$tests/vdist_bench_collectives_cuda" ]; then
      echo "\$ vdist_bench_collectives_cuda"
      "$tests/vdist_bench_collectives_cuda"
      echo "\$ vdist_bench_collectives_cuda --thresholds"
      "$tests/vdist_bench_collectives_cuda" --thresholds
      break
    fi
  done
fi
