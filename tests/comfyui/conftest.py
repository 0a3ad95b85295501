"""The real ComfyUI in this process. Model, encoder and garments are narrow; what needs full widths asks for them."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import comfyui_process as comfyui
from support import encoding, parity
from support.narrow_encoder import narrow_encoder, narrow_garment_of, narrow_garment_of_vectors
from support.narrow_unet import narrow_model

comfyui.start()


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    """Run as ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", autouse=True)
def full_sized_models_leave_with_the_module() -> Iterator[None]:
    yield
    parity.let_go(parity.dressing_model, parity.garment_encoder, encoding.vae, encoding.clip)


@pytest.fixture(scope="session", autouse=True)
def nothing_loaded_at_exit() -> Iterator[None]:
    """Python would take ComfyUI apart before its models, which then fail to say good-bye."""
    yield
    import comfy.model_management

    parity.let_go(narrow_model, narrow_encoder)
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="session")
def model() -> Any:
    """The frozen SD1.5 that the user brings."""
    return narrow_model()


@pytest.fixture(scope="session")
def encoder() -> Any:
    return narrow_encoder()


@pytest.fixture(scope="session")
def garment() -> Any:
    """A garment of 64 × 80 pixels."""
    with torch.inference_mode():
        return narrow_garment_of_vectors()


@pytest.fixture(scope="session")
def official_garment() -> Any:
    """The same, as wide as SD1.5: encoded by the official file in float32."""
    with torch.inference_mode():
        garment = parity.garment_of_vectors()
    parity.let_go(parity.garment_encoder)
    return garment


@pytest.fixture(scope="session")
def other_garment() -> Any:
    """A garment of another size, 96 × 64 pixels."""
    with torch.inference_mode():
        return narrow_garment_of(1, 8, 12)


@pytest.fixture(scope="session")
def garment_of_two() -> Any:
    """Two images of 64 × 80 pixels in one GARMENT."""
    with torch.inference_mode():
        return narrow_garment_of(2, 10, 8)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    """Return a function that gives what the pack has said since it was last called."""
    caplog.set_level(logging.WARNING)

    def read() -> list[str]:
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [text.removeprefix("IMAGDressing: ") for text in texts if text.startswith("IMAGDressing: ")]

    return read
