"""The real ComfyUI in this process, on synthetic models; everything expensive is loaded once."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import parity

comfyui.start()


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    """Run as ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_loaded_at_exit() -> Iterator[None]:
    yield
    import comfy.model_management

    parity.dressing_model.cache_clear()
    parity.garment_encoder.cache_clear()
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="session")
def model() -> Any:
    """The frozen SD1.5 that the user brings."""
    return parity.dressing_model()


@pytest.fixture(scope="session")
def encoder() -> Any:
    return parity.garment_encoder()


@pytest.fixture(scope="session")
def garment() -> Any:
    """A garment of 64 × 80 pixels."""
    with torch.inference_mode():
        return parity.garment_of_vectors()


@pytest.fixture(scope="session")
def other_garment() -> Any:
    """A garment of another size, 96 × 64 pixels."""
    with torch.inference_mode():
        return comfyui.pack("imagdressing_core.model.garment").Garment(_encoded(1, 8, 12))


def _encoded(batch: int, height: int, width: int) -> Any:
    generator = torch.Generator().manual_seed(7)
    latent = torch.randn((batch, 4, height, width), generator=generator)
    clip_hidden = torch.randn((batch, 257, 1280), generator=generator)
    return parity.garment_encoder().encode(latent, clip_hidden)


@pytest.fixture(scope="session")
def garment_of_two() -> Any:
    """Two images of 64 × 80 pixels in one GARMENT."""
    with torch.inference_mode():
        return comfyui.pack("imagdressing_core.model.garment").Garment(_encoded(2, 10, 8))
