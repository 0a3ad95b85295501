"""Tiny models in the official folder formats, a tiny data set, and a fresh accelerate for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.training_set import forget_accelerate, write_folder, write_shard

from imagdressing_core.training.tiny_models import save_tiny_models


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """So small models are slower on more; and the processes that tests start have one as well."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_tiny_models(folder)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def shards(pairs: Path, tmp_path: Path) -> Path:
    """The same pairs in four shards of two, as a glob."""
    for shard in range(4):
        write_shard(tmp_path / f"{shard}.tar", pairs, range(2 * shard, 2 * shard + 2))
    return tmp_path / "*.tar"


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    yield
    forget_accelerate()
