#!/usr/bin/env bash
# Compiles the kernels in 32-bit floats for AMD's chips, with clang and nothing of ROCm, and checks that each is there
# and keeps its numbers in registers. Clang 19 and its linker are installed from Debian's packages where that can be
# done; where it can't, this says so and is skipped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v clang++-19 > /dev/null || ! command -v ld.lld-19 > /dev/null; then
  { ((EUID == 0)) && apt-get update -qq && apt-get install -y -q --no-install-recommends clang-19 lld-19; } > /dev/null 2>&1 ||
    { echo "SKIPPED (AMD's chips): there is no clang 19, and nobody here may install it" && exit 0; }
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
kernels=$(grep -ohE 'KERNEL\([0-9]+\) \w+' "$here/plain.cu" | cut -d' ' -f2)
for chip in gfx90a gfx942; do
  object=$folder/$chip
  options=(-x hip --cuda-device-only --no-gpu-bundle-output "--offload-arch=$chip" -nogpuinc -nogpulib)
  clang++-19 "${options[@]}" -std=c++17 -O3 -Wall -Werror -Wno-unused-function "$here/hip.cu" -o "$object" --save-temps=obj
  for kernel in $kernels; do
    grep -q "^$kernel:" "$folder"/hip-hip-*"$chip".s || { echo "$chip: $kernel is missing" >&2 && exit 1; }
  done
  if grep -E 'vgpr_spill_count: +[1-9]|sgpr_spill_count: +[1-9]' "$folder"/hip-hip-*"$chip".s; then
    echo "$chip: a kernel keeps numbers in memory" >&2
    exit 1
  fi
  echo "$chip: $(wc -w <<< "$kernels") kernels, $(stat -c %s "$object") bytes"
done
