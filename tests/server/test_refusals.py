"""What goes wrong is said in words in the host's dialog, and the next prompt runs."""

from pathlib import Path
from typing import Any

import bad_checkpoints
import pytest
from host_server import HostServer, Prompt


def loader(prompt: Prompt) -> dict[str, Any]:
    return next(entry["inputs"] for entry in prompt.values() if entry["class_type"] == "IMAGDressingModelLoader")


def runs(server: HostServer, prompt: Prompt) -> bool:
    return server.run(prompt).error is None


@pytest.mark.parametrize("name", bad_checkpoints.MESSAGES)
def test_a_file_that_is_no_checkpoint_is_refused_in_words(
    server: HostServer, prompt: Prompt, extra_models: Path, name: str
):
    good = loader(prompt)["model_name"]
    loader(prompt)["model_name"] = name
    error = server.run(prompt).error
    assert error is not None
    assert name in error
    assert bad_checkpoints.MESSAGES[name] in error
    assert "IMAGDressing-v1_512.pt" in error
    assert not (extra_models / bad_checkpoints.EXECUTED).exists()
    loader(prompt)["model_name"] = good
    assert runs(server, prompt)


@pytest.mark.parametrize(
    "name", ["not_there.pt", "../checkpoints/Realistic_Vision_V4.0.safetensors", "/etc/hostname", ""]
)
def test_a_name_that_is_not_in_the_folders_is_refused_with_what_is_there(
    server: HostServer, prompt: Prompt, extra_models: Path, name: str
):
    loader(prompt)["model_name"] = name
    error = server.run(prompt).error
    assert error is not None
    assert f"No IMAGDressing checkpoint named {name!r}" in error
    assert str(extra_models) in error
    assert "IMAGDressing-v1_512.pt" in error
    assert "misshapen.pt" in error


def test_the_folder_of_extra_model_paths_comes_with_the_hosts_own(server: HostServer):
    info = server.get("/object_info/IMAGDressingModelLoader")["IMAGDressingModelLoader"]
    names = info["input"]["required"]["model_name"][1]["options"]
    assert {"IMAGDressing-v1_512.pt", "misshapen.pt"} <= set(names)


def test_a_failure_between_changes_nothing_of_the_picture(server: HostServer, prompt: Prompt):
    sampler = next(entry["inputs"] for entry in prompt.values() if entry["class_type"] == "KSampler")
    good = loader(prompt)["model_name"]

    def picture(seed: int) -> bytes:
        sampler["seed"] = seed
        result = server.run(prompt)
        assert result.error is None
        return server.image(result.images[0])

    before = picture(1)
    loader(prompt)["model_name"] = "code.pt"
    assert server.run(prompt).error is not None
    loader(prompt)["model_name"] = good
    assert picture(2) != before
    assert picture(1) == before
