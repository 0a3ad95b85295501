#!/usr/bin/env bash
# Set up a bundle of `make gpu-bundle` on a machine without a network: bash benchmarks/gpu_bundle/unpack.sh [python3]
# What that Python already has, PyTorch above all, is seen from the bundle's own environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
"$python" -m venv --without-pip .venv
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sys; print(*(p for p in sys.path if p.endswith(("site-packages", "dist-packages"))), sep="\n")' >"$site/there.pth"
printf '%s\n' "$PWD/tests" "$PWD/scripts" >"$site/development.pth"
"$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" bundle/wheels/*.whl
cp -r bundle/site/* "$site"
ln -sfn "$PWD/imagdressing_core" "$site/imagdressing_core"
comfyui=.comfyui/hosts/$(cat bundle/version)
mkdir -p "$comfyui"
tar -xzf bundle/comfyui.tgz -C "$comfyui"
.venv/bin/python -c 'import torch, transformers, einops, scipy, aiohttp, requests, pytest'
touch .venv/.ready
