"""ComfyUI's dialog shows a message for whatever goes wrong, and the next prompt runs."""

from pathlib import Path
from typing import Any

import pytest
from support import bad_checkpoints
from support.comfyui_server import ComfyUIServer, Prompt


def loader(prompt: Prompt) -> dict[str, Any]:
    return next(entry["inputs"] for entry in prompt.values() if entry["class_type"] == "IMAGDressingModelLoader")


@pytest.mark.parametrize("name", bad_checkpoints.MESSAGES)
def test_a_file_that_is_no_checkpoint_is_refused_in_words(
    server: ComfyUIServer, prompt: Prompt, extra_models: Path, name: str
):
    loader(prompt)["model_name"] = name
    error = server.run(prompt).error
    assert error is not None
    assert name in error
    assert bad_checkpoints.MESSAGES[name] in error
    assert "IMAGDressing-v1_512.pt" in error
    assert not (extra_models / bad_checkpoints.EXECUTED).exists()


@pytest.mark.parametrize(
    "name", ["not_there.pt", "../checkpoints/Realistic_Vision_V4.0.safetensors", "/etc/hostname", ""]
)
def test_a_name_that_is_not_in_the_folders_is_refused_with_what_is_there(
    server: ComfyUIServer, prompt: Prompt, extra_models: Path, name: str
):
    loader(prompt)["model_name"] = name
    error = server.run(prompt).error
    assert error is not None
    assert f"No IMAGDressing checkpoint named {name!r}" in error
    assert str(extra_models) in error
    assert "IMAGDressing-v1_512.pt" in error
    assert "misshapen.pt" in error


def test_the_folder_of_extra_model_paths_comes_with_comfyuis_own(server: ComfyUIServer):
    info = server.get("/object_info/IMAGDressingModelLoader")["IMAGDressingModelLoader"]
    names = info["input"]["required"]["model_name"][1]["options"]
    assert {"IMAGDressing-v1_512.pt", "misshapen.pt"} <= set(names)


def test_after_every_failure_the_next_prompt_makes_the_same_image(server: ComfyUIServer, prompt: Prompt):
    sampler = next(entry["inputs"] for entry in prompt.values() if entry["class_type"] == "KSampler")
    good = loader(prompt)["model_name"]

    def image(seed: int) -> bytes:
        sampler["seed"] = seed
        result = server.run(prompt)
        assert result.error is None
        return server.image(result.images[0])

    before = image(1)
    for name in bad_checkpoints.MESSAGES:
        loader(prompt)["model_name"] = name
        assert server.run(prompt).error is not None
    loader(prompt)["model_name"] = good
    assert image(2) != before
    assert image(1) == before
