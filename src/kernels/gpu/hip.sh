#!/usr/bin/env bash
# Compiles the kernels in 32-bit floats for AMD's chips into built/, with clang and nothing of ROCm, and checks that each
# kernel is there and keeps its numbers in registers. With --check nothing is written: what is in built/ must come out
# again, byte for byte, where the compiler is the one that the manifest names. Clang 19 and its linker are installed from
# Debian's packages where that can be done; where it can't, this says so and is skipped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
chips=(gfx90a gfx942)
sources=(erf.h hip.cu hip.h plain.cu tile.h)
if ! command -v clang++-19 > /dev/null || ! command -v ld.lld-19 > /dev/null; then
  { ((EUID == 0)) && apt-get update -qq && apt-get install -y -q --no-install-recommends clang-19 lld-19; } > /dev/null 2>&1 ||
    { echo "SKIPPED (AMD's chips): there is no clang 19, and nobody here may install it" && exit 0; }
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
kernels=$(grep -ohE 'KERNEL\([0-9]+\) \w+' "$here/plain.cu" | cut -d' ' -f2)
for chip in "${chips[@]}"; do
  object=$folder/$chip.hsaco
  # Code objects of version 4 load in every runtime that is served. No path of this machine is in them.
  options=(-x hip --cuda-device-only --no-gpu-bundle-output "--offload-arch=$chip" -nogpuinc -nogpulib -mcode-object-version=4 -fuse-cuid=none)
  (cd "$here" && clang++-19 "${options[@]}" -std=c++17 -O3 -Wall -Werror -Wno-unused-function hip.cu -o "$object" --save-temps=obj)
  for kernel in $kernels; do
    grep -q "^$kernel:" "$folder"/hip-hip-*"$chip".s || { echo "$chip: $kernel is missing" >&2 && exit 1; }
  done
  if grep -E 'vgpr_spill_count: +[1-9]|sgpr_spill_count: +[1-9]' "$folder"/hip-hip-*"$chip".s; then
    echo "$chip: a kernel keeps numbers in memory" >&2
    exit 1
  fi
  echo "$chip: $(wc -w <<< "$kernels") kernels, $(stat -c %s "$object") bytes"
done
{
  printf 'compiler\t%s\n' "$(clang++-19 --version | head -n 1)"
  for source in "${sources[@]}"; do
    printf '%s\t%s\n' "$source" "$(sha256sum < "$here/$source" | cut -d' ' -f1)"
  done
  for chip in "${chips[@]}"; do
    printf 'built/%s\t%s\n' "$chip.hsaco" "$(sha256sum < "$folder/$chip.hsaco" | cut -d' ' -f1)"
  done
} > "$folder/hip.tsv"
if [[ ${1:-} != --check ]]; then
  for chip in "${chips[@]}"; do
    python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read(), 9))' < "$folder/$chip.hsaco" > "$here/built/$chip.hsaco.zz"
  done
  cp "$folder/hip.tsv" "$here/built/hip.tsv"
elif ! cmp -s <(head -n 1 "$folder/hip.tsv") <(head -n 1 "$here/built/hip.tsv"); then
  echo "SKIPPED (AMD's code objects): they were made by another compiler, $(head -n 1 "$here/built/hip.tsv" | cut -f2)"
elif ! cmp -s "$folder/hip.tsv" "$here/built/hip.tsv"; then
  echo "what is in built/ was not made from these sources: run hip.sh" >&2
  exit 1
fi
