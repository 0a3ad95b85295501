#!/usr/bin/env bash
# Make artefacts/gpu-bundle: this repository and all else that a GPU machine without a network lacks. There: `make gpu`.
#   bash benchmarks/gpu_bundle/make.sh [Python version of that machine, 3.12]
# Taken to be there: PyTorch, transformers, huggingface_hub, einops, scipy, psutil, tqdm, PyYAML, aiohttp, requests, pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
wanted=${1:-3.12}
comfyui=$(PYTHONPATH=tests .venv/bin/python -m support.comfyui_release)
out=artefacts/gpu-bundle
rm -rf "$out"
mkdir -p "$out/bundle/wheels" "$out/bundle/site/av"

# The repository without what only readers and translators need.
git archive HEAD . ':!docs/images' ':!web/docs' ':!locales' ':!workflows/*.jpg' ':!benchmarks/learning' | tar -x -C "$out"

# ComfyUI without what no SD1.5 workflow reads: 45 MB become 2.
tar -czf "$out/bundle/comfyui.tgz" -C "$comfyui" --exclude=__pycache__ --exclude=./tests --exclude=./tests-unit \
    --exclude=./blueprints --exclude='./comfy/text_encoders/*_tokenizer' --exclude=./comfy_api_nodes --exclude=./openapi.yaml .
basename "$comfyui" >"$out/bundle/version"

# What ComfyUI and the tests import, in the versions of this checkout.
version() { .venv/bin/python -c "from importlib.metadata import version; print(version('$1'))"; }
pip=(.venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --python-version "$wanted" --implementation cp)
for n in 17 24 27 28 31 34; do pip+=(--platform "manylinux_2_${n}_x86_64"); done
pip+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
packages=()
for name in torchsde trampoline comfy-aimdo diffusers importlib-metadata zipp pydantic pydantic-core annotated-types typing-inspection \
    pydantic-settings python-dotenv sqlalchemy alembic mako greenlet simpleeval blake3; do
    packages+=("$name==$(version "$name")")
done
"${pip[@]}" -d "$out/bundle/wheels" "${packages[@]}"

# comfy-kitchen without its 45 MB of kernels for fp8 and fp4, which SD1.5 in fp16 never calls: it has slower ones.
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
"${pip[@]}" -d "$scratch" "comfy-kitchen==$(version comfy-kitchen)"
.venv/bin/python - "$scratch" "$out/bundle/site" <<'PY'
import pathlib, sys, zipfile

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(sys.argv[2], [name for name in archive.namelist() if not name.endswith(".so")])
PY

# PyAV is 36 MB of codecs; ComfyUI imports it, and nothing that runs here calls it.
cp benchmarks/gpu_bundle/av_stand_in.py "$out/bundle/site/av/__init__.py"
megabytes=$(du -sm "$out" | cut -f1)
echo "$out: $megabytes MB. Copy it to the machine, and there: make gpu"
[ "$megabytes" -le 30 ] || { echo "That is more than 30 MB." >&2; exit 1; }
