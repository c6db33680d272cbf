#!/usr/bin/env bash
# Compiles the kernels for all chips into built/, with NVIDIA's run-time compiler from the Python package index: no CUDA
# toolkit, no GPU. With --check nothing is written: what is in built/ must come out again, byte for byte.
# The compilers (130 MB) are kept in the folder that UNDERTONE_NVRTC names, else thrown away.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
compilers=${UNDERTONE_NVRTC:-}
if [[ -z $compilers ]]; then
  compilers=$(mktemp -d)
  trap 'rm -rf "$compilers"' EXIT
fi
for version in $(python3 "$here/build.py" --versions); do
  [[ -d $compilers/$version ]] ||
    python3 -m pip install --quiet --no-deps --root-user-action=ignore --target "$compilers/$version" "nvidia-cuda-nvrtc-cu12==$version"
done
python3 "$here/build.py" "$compilers" "$@"
