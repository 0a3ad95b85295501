"""Every kind of file that once ran code, killed the process or filled memory is rejected with a message, at no cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import known_files
from support.children import REPOSITORY, child
from support.known_files import EXECUTED, KNOWN, file_name

MEGABYTES = 64  # as many as the largest tensor of a checkpoint, and little of what these files ask for
SECONDS = 20.0  # of the processor, where they ask for all there are


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("known")
    for i, known in enumerate(KNOWN.values()):
        (folder / file_name(i, known)).write_bytes(known.make())
    return folder


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, Any]:
    """What became of each file, read in a process of its own that has little memory."""
    done = child(Path(known_files.__file__), folder, folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return {outcome["name"]: outcome for outcome in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", KNOWN)
def test_a_file_that(outcomes: dict[str, Any], folder: Path, name: str):
    outcome = outcomes[name]
    assert outcome["message"] is not None, "it was taken for a checkpoint"
    assert KNOWN[name].message in outcome["message"]
    assert len(outcome["message"]) < 600
    assert outcome["megabytes"] < MEGABYTES
    assert outcome["seconds"] < SECONDS
    assert not (folder / EXECUTED).exists()


def test_parameters_and_tensors_that_want_gradients_are_taken(tmp_path: Path):
    import torch

    from imagdressing_core.files.checkpoint import expected_shapes, read_checkpoint

    whole = {key: torch.zeros(1).expand(shape) for key, shape in expected_shapes().items()}
    name = "adapter_modules.0.to_k_ref.weight"
    whole[name] = torch.nn.Parameter(torch.ones(320, 320))
    torch.save({"module": whole}, tmp_path / "a.pt")
    checkpoint = read_checkpoint(tmp_path / "a.pt")
    assert torch.equal(checkpoint.tensors[name], torch.ones(320, 320))
    assert len(checkpoint.fingerprint) == 64


def test_no_module_of_the_pack_reaches_for_the_network():
    """What runs in ComfyUI; evaluation and training load published weights when they are asked to."""
    import ast

    reaching = {
        "aiohttp",
        "ftplib",
        "http",
        "httpx",
        "huggingface_hub",
        "requests",
        "smtplib",
        "socket",
        "urllib",
        "wget",
    }
    rooms = ("nodes", *(f"imagdressing_core/{room}" for room in ("model", "images", "files", "application")))
    files = [REPOSITORY / "__init__.py", *(file for room in rooms for file in (REPOSITORY / room).rglob("*.py"))]
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not {name.partition(".")[0] for name in names} & reaching, file
