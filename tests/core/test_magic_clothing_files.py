"""MagicClothing's published files: read as what they are, damaged ones named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.bad_checkpoints import unsaid

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.files.checkpoint import GARMENT_UNET, PROJECTIONS, convert_checkpoint, read_checkpoint
from imagdressing_core.files.sd15_shapes import unet_shapes

Weights = dict[str, Any]


@pytest.fixture
def magic_clothing(tmp_path: Path, weights: Weights) -> Path:
    """MagicClothing's garment U-Net and, beside it, the projections of its additive form."""
    unet = {key.removeprefix(GARMENT_UNET): value for key, value in weights.items() if key.startswith(GARMENT_UNET)}
    torch.save(unet, tmp_path / "magic_clothing.pt")
    torch.save(unet, tmp_path / "garment_extractor.pt")
    projections = {
        key.removeprefix(PROJECTIONS).replace("_ref.", "_ip."): value
        for key, value in weights.items()
        if key.startswith(PROJECTIONS)
    }
    torch.save(projections, tmp_path / "ip_layer.pth")
    return tmp_path


def test_magic_clothing_is_a_bare_unet(magic_clothing: Path):
    checkpoint = read_checkpoint(magic_clothing / "magic_clothing.pt")
    assert not checkpoint.qformer
    assert checkpoint.variant == "MagicClothing"
    assert checkpoint.garment_unet.keys() == unet_shapes().keys()
    assert not checkpoint.projections
    assert len(checkpoint.fingerprint) == 64


def test_magic_clothings_stable_form_has_projections_beside_it(magic_clothing: Path, weights: Weights):
    checkpoint = read_checkpoint(magic_clothing / "garment_extractor.pt")
    assert not checkpoint.qformer
    for key, tensor in checkpoint.projections.items():
        assert torch.equal(tensor, weights[PROJECTIONS + key])
    (magic_clothing / "ip_layer.pth").unlink()
    assert "needs ip_layer.pth beside it" in unsaid(magic_clothing / "garment_extractor.pt")


def test_magic_clothing_has_nothing_to_convert(magic_clothing: Path):
    with pytest.raises(IMAGDressingError, match="use it as it is"):
        convert_checkpoint(magic_clothing / "magic_clothing.pt", magic_clothing)


def test_a_damaged_magic_clothing_file_says_whose_it_is(magic_clothing: Path):
    unet = torch.load(magic_clothing / "magic_clothing.pt", weights_only=True)
    del unet["conv_in.weight"]
    torch.save(unet, magic_clothing / "magic_clothing.pt")
    assert "not a whole MagicClothing checkpoint" in unsaid(magic_clothing / "magic_clothing.pt")
