"""The memory estimate: the numbers of the real models, without loading them."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.training_set import config, write_toml
from torch import Tensor

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.config import read_config
from imagdressing_core.training.data import whole_pairs
from imagdressing_core.training.memory import requirements
from imagdressing_core.training.model import encoded, training_loss
from imagdressing_core.training.samples import SampleMaker, collated
from imagdressing_core.training.setup import update_averaged
from imagdressing_core.training.trainer import Trainer


def saved_by(trainer: Trainer) -> int:
    """Return the bytes that the forward pass of one real batch keeps for the backward pass, weights left out."""
    data, run = trainer.config.data, trainer.config.run
    maker = SampleMaker(data, trainer.config.dropout, (4, data.height // 2, data.width // 2), run.seed)
    samples: Any = collated([maker.sample(pair, i) for i, pair in enumerate(whole_pairs(data)[: run.batch])])
    batch = encoded(samples, trainer.frozen)
    weights = {one.data_ptr() for model in (trainer.frozen.unet, trainer.garment) for one in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), trainer.accelerator.autocast():
        training_loss(trainer.frozen.unet, trainer.garment, batch, trainer.config.objective, trainer.alphas)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_the_estimate_has_the_numbers_of_the_real_run(models: Path, pairs: Path, tmp_path: Path):
    plain = config(models, pairs, tmp_path / "out", run={"ema_decay": 0.9})
    read = read_config(write_toml(plain, tmp_path / "config.toml"))
    found = requirements(read)
    trainer = Trainer(read)
    weights = list(trainer.garment.parameters())
    learnt = sum(one.numel() for one in weights if one.requires_grad)
    frozen = (trainer.frozen.unet, trainer.frozen.vae, trainer.frozen.text_encoder, trainer.frozen.image_encoder)
    assert found.trained == learnt
    assert found.nbytes["frozen models"] == sum(one.nbytes for model in frozen for one in model.parameters())
    assert found.nbytes["averaged weights"] == sum(one.nbytes for one in weights)
    assert found.nbytes["AdamW"] == 2 * found.nbytes["gradients"] == 8 * learnt
    measured = saved_by(trainer)
    assert abs(found.nbytes["activations of 2 samples"] / measured - 1) < 0.02


def test_checkpointing_half_precision_and_fewer_parts_need_less(models: Path, pairs: Path, tmp_path: Path):
    def total(**sections: Any) -> float:
        plain = config(models, pairs, tmp_path / "out", **sections)
        return sum(requirements(read_config(write_toml(plain, tmp_path / "config.toml"))).nbytes.values())

    plain = total()
    assert total(run={"gradient_checkpointing": True}) < plain
    assert total(run={"precision": "bf16"}) < plain
    assert total(optimiser={"parts": ["projections"]}) < plain
    assert total(data={"cache": str(tmp_path / "cache")}) < plain
    averaged = {"ema_decay": 0.9}
    assert total(run=averaged | {"ema_offload": True}) == plain < total(run=averaged)
    assert total(optimiser={"eight_bit": True}) < plain < total(run={"batch": 4})


def test_a_size_that_the_vae_cannot_encode_is_refused_before_loading(models: Path, pairs: Path, tmp_path: Path):
    plain = config(models, pairs, tmp_path / "out", data={"width": 33})
    with pytest.raises(IMAGDressingError, match="33 × 40 cannot be trained on: take multiples of 2"):
        requirements(read_config(write_toml(plain, tmp_path / "config.toml")))


def test_averaged_weights_are_on_the_device_only_while_they_are_updated():
    from diffusers.training_utils import EMAModel

    class Watched(EMAModel):
        places: ClassVar[list[str]] = []

        def to(self, device: Any = None, **more: Any) -> None:
            self.places.append(str(device))
            super().to(device, **more)

        def step(self, parameters: Any) -> None:
            self.places.append("step")

    here = [torch.nn.Parameter(torch.zeros(2))]
    update_averaged(Watched(here), here, offload=False)
    assert Watched.places == ["step"]
    update_averaged(Watched(here), here, offload=True)
    assert Watched.places == ["step", "cpu", "step", "cpu"]
    update_averaged(None, here, offload=True)
