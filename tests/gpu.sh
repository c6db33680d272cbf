#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: every kernel of the shipped code object against its twin in double precision, then its time
# at large-v3's shapes. Needs the driver, a C++ compiler and Python, nothing of CUDA; with compute-sanitizer in reach and
# --sanitize, memory is checked too. Usage: tests/gpu.sh [--sanitize]
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader --id=0 | tr -d ' .')
case $capability in
  8?) object=sm_80.cubin ;;
  90) object=sm_90a.cubin ;;
  100) object=sm_100.cubin ;;
  120) object=sm_120.cubin ;;
  *) object=compute_80.ptx ;;
esac
python3 - "../src/kernels/gpu/built/$object.zz" "$work/$object" <<'UNPACK'
import sys, zlib
open(sys.argv[2], "wb").write(zlib.decompress(open(sys.argv[1], "rb").read()))
UNPACK
c++ -std=c++17 -O2 -fno-strict-aliasing -U_FORTIFY_SOURCE -Wno-unknown-pragmas gpu/main.cpp -o "$work/kernels" -ldl
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
echo "code object $object"
"$work/kernels" "$work/$object"
if [[ ${1:-} == --sanitize ]]; then
  compute-sanitizer --error-exitcode 1 "$work/kernels" "$work/$object" --checks-only
fi
