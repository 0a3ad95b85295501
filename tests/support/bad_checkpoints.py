"""Files that users put, or are sent, in place of the checkpoint; each with what ComfyUI's message must say."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import read_checkpoint

EXECUTED = "executed.txt"

MESSAGES = {
    "empty.pt": "is empty (0 bytes)",
    "truncated.pt": "is damaged, incomplete",
    "truncated.safetensors": "is damaged, incomplete",
    "code.pt": "was refused: loading it would run code",
    "ip_adapter.safetensors": "is an IP-Adapter, not an IMAGDressing checkpoint",
    "controlnet.safetensors": "is a ControlNet, not an IMAGDressing checkpoint",
    "sdxl.safetensors": "is an SDXL checkpoint, not an IMAGDressing checkpoint",
    "lora.safetensors": "is a LoRA, not an IMAGDressing checkpoint",
    "incomplete.safetensors": "tensors are missing (first: ",
    "extra.pt": "1 tensors are not part of it (first: ref_unet.surplus)",
    "misshapen.pt": "expected (320, 4, 3, 3)",
}


class _Code:
    """Unpickled without care, it writes a file."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder / EXECUTED}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def write_all(folder: Path) -> None:
    (folder / "empty.pt").touch()
    torch.save({"module": {"ref_unet.x": torch.zeros(1000)}}, folder / "whole.pt")
    _write_half(folder / "whole.pt", folder / "truncated.pt")
    (folder / "code.pt").write_bytes(pickle.dumps(_Code(folder)))
    _save(folder / "ip_adapter.safetensors", "image_proj.latents", "ip_adapter.1.to_k_ip.weight")
    _save(folder / "controlnet.safetensors", "controlnet_cond_embedding.conv_in.weight")
    _save(folder / "sdxl.safetensors", "conditioner.embedders.0.x", "model.diffusion_model.x")
    _save(folder / "lora.safetensors", "lora_unet_down_blocks_0.lora_up.weight")
    _save(folder / "incomplete.safetensors", "ref_unet.conv_in.weight", "proj.latents")
    _write_half(folder / "lora.safetensors", folder / "truncated.safetensors")
    (folder / "whole.pt").unlink()
    whole = _whole()
    torch.save({"module": whole | {"ref_unet.surplus": torch.zeros(1)}}, folder / "extra.pt")
    torch.save({"module": whole | {"ref_unet.conv_in.weight": torch.zeros(320, 9, 3, 3)}}, folder / "misshapen.pt")


def _whole() -> dict[str, torch.Tensor]:
    from imagdressing_core.files.checkpoint import expected_shapes

    return {key: torch.zeros(1).expand(shape) for key, shape in expected_shapes().items()}


def _save(path: Path, *keys: str) -> None:
    save_file({key: torch.zeros(8, 8) for key in keys}, path)


def _write_half(source: Path, target: Path) -> None:
    content = source.read_bytes()
    target.write_bytes(content[: len(content) // 2])


def unsaid(path: Path) -> str:
    """Return what reading the file says against it."""
    with pytest.raises(IMAGDressingError) as refusal:
        read_checkpoint(path)
    message = str(refusal.value)
    assert path.name in message
    return message
