"""The workflow runs however ComfyUI was started: attention, weight types and memory, in three combinations.

``--lowvram`` and ``--novram`` exclude ``--cpu``; what they do is tested in ``tests/comfyui/test_garment_encoder.py``.
"""

import pytest
from support.comfyui_release import PACK_NAME
from support.comfyui_server import KEEPING_BUFFERS, serving
from support.shipped_prompts import make_small, shipped_prompt
from support.synthetic_models import synthetic_base


@pytest.mark.parametrize(
    "flags",
    [
        ["--use-split-cross-attention", "--fp16-unet", "--cache-none"],
        ["--use-quad-cross-attention", "--bf16-unet", "--disable-smart-memory"],
        ["--use-pytorch-cross-attention", "--fp8_e4m3fn-unet", "--cache-lru", "4"],
    ],
    ids=" ".join,
)
def test_the_workflow_runs_under(flags: list[str]):
    with serving(*flags, base=synthetic_base(), prefix=KEEPING_BUFFERS) as server:
        result = server.run(make_small(shipped_prompt(server), steps=1))
        assert result.error is None, result.error
        assert len(result.images) == 1
        log = server.log.read_text().partition("got prompt")[2]
        suspicious = [
            line for line in log.splitlines() if "WARNING" in line or "diffusers" in line or "missing" in line
        ]
        assert [line for line in suspicious if "No VAE weights" not in line] == []  # of the checkpoint without VAE
        # Some releases log a trace of their own, of the database that this ComfyUI keeps in memory.
        assert "Traceback" not in log or PACK_NAME not in log.partition("Traceback")[2]
