"""What several tests of the core share."""

from typing import Any

import pytest
import torch

from imagdressing_core.files.checkpoint import expected_shapes


@pytest.fixture
def weights() -> dict[str, Any]:
    """A whole checkpoint in names and shapes. Its tensors hold one number each, so that it weighs nothing on disk."""
    return {
        key: torch.full((1,), i % 7 / 8).half().expand(shape)
        for i, (key, shape) in enumerate(expected_shapes().items())
    }
