#!/usr/bin/env bash
# Puts everything that a machine with GPUs needs to run the GPU tests and benchmarks into one folder: programs, test
# programs, the libraries that such a machine lacks (all but glibc, CUDA and the driver), and `run.sh`.
#   tests/support/gpu_bundle.sh BUILD PROGRAMS OUT        (make gpu-bundle)
# There: OUT/run.sh COMMAND…, from the root of a checkout, for example OUT/run.sh OUT/tests/kernels_linear_cuda_test
set -euo pipefail
build=$1
programs=$2
out=$3
mkdir -p "$out/bin" "$out/tests" "$out/lib"

install -s -m 755 "$programs"/vdist-{run,node,worker,vault,ctl,bench,logits} "$out/bin"
install -m 755 "$programs/libvdist_cuda.so" "$out/bin"
for test in "$build"/tests/*_cuda_test "$build"/tests/*_multi_gpu_test "$build"/tests/vdist_bench_{kernels,collectives}_cuda \
  "$build"/tests/model_{golden,runner,cuda}_test; do
  [ -x "$test" ] && install -s -m 755 "$test" "$out/tests"
done

# Libraries by name as the loader resolves them; libc and what belongs to it stay behind, so do CUDA's.
ldd "$out"/bin/vdist-* "$out"/tests/* 2>/dev/null | awk '/=> \// { print $3 }' | sort -u \
  | grep -vE '/(ld-linux|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libcublas|libcublasLt|libcudart|libnccl|libcudnn|libnvidia)[-.]' \
  | while read -r library; do install -m 644 "$library" "$out/lib/"; done

cat >"$out/run.sh" <<'EOF'
#!/bin/sh
# Runs a program of this folder with the libraries beside it.
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="$here/lib:$here/bin:${LD_LIBRARY_PATH:-}"
export VDIST_PROGRAMS="$here/bin"
exec "$@"
EOF
chmod 755 "$out/run.sh"
du -sh "$out"
