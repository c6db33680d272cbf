#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: every kernel of the shipped code object against its twin in double precision, then its time
# at large-v3's shapes. Needs the driver, a C++ compiler and Python, nothing of CUDA; with compute-sanitizer in reach and
# --sanitize, memory is checked too. With a built program, a model and recordings, the program's tokens on the card in f32
# are compared with those on the CPU, and `bench` tells what it does. Usage:
#   tests/gpu.sh [--sanitize] [PROGRAM MODEL RECORDING...]
# On a machine with an AMD GPU, --rocm in front: the program alone, in f32.
set -euo pipefail
sanitize= device=cuda
if [[ ${1:-} == --sanitize ]]; then
  sanitize=yes
  shift
elif [[ ${1:-} == --rocm ]]; then
  device=rocm
  shift
fi
product=()
for argument in "$@"; do
  [[ -e $argument ]] && argument=$(realpath "$argument")
  product+=("$argument")
done
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernels() {
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
  if [[ -n $sanitize ]]; then
    compute-sanitizer --error-exitcode 1 "$work/kernels" "$work/$object" --checks-only
  fi
}
[[ $device == rocm ]] || kernels
if ((${#product[@]} < 3)); then
  exit 0
fi
program=${product[0]} model=${product[1]} recordings=("${product[@]:2}")
for where in cpu "$device"; do
  "$program" "${recordings[@]}" -m "$model" --device $where --language en --beam_size 1 --temperature 0 \
    --temperature_increment_on_fallback none -f json -o "$work/$where" -q
done
python3 - "$work/cpu" "$work/$device" <<'COMPARE'
import json, os, sys
tokens = lambda folder, name: [s["tokens"] for s in json.load(open(os.path.join(folder, name)))["segments"]]
names = sorted(os.listdir(sys.argv[1]))
other = [name for name in names if tokens(sys.argv[1], name) != tokens(sys.argv[2], name)]
print(f"f32 on the card: {len(names) - len(other)} of {len(names)} recordings have the CPU's tokens", *other)
sys.exit(len(other) > 0)
COMPARE
computes=(f32)
[[ $device == rocm ]] || computes+=(f16)
for compute in "${computes[@]}"; do
  "$program" bench "${recordings[0]}" -m "$model" --device "$device" --compute-type "$compute"
done
