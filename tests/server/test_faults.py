"""A ComfyUI that was interrupted, starved, cut off or killed makes, afterwards, the image that it made before."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from support.comfyui_server import HALF, ComfyUIServer, Prompt, Result, serving
from support.shipped_prompts import make_small, shipped_prompt
from support.synthetic_models import synthetic_base

NUMBERS = itertools.count()
GARMENTS = Path("models") / "imagdressing_garments"
ENDS = ("execution_interrupted", "execution_success", "execution_error")
# Files of at most 450 kB, less than a garment of the smallest size.
LITTLE_ROOM = ("sh", "-c", 'ulimit -f 900; exec "$@"', "sh")


def inputs(prompt: Prompt, class_type: str) -> dict[str, Any]:
    return next(node["inputs"] for node in prompt.values() if node["class_type"] == class_type)


def node_id(prompt: Prompt, class_type: str) -> str:
    return next(key for key, node in prompt.items() if node["class_type"] == class_type)


def image(server: ComfyUIServer, prompt: Prompt) -> bytes:
    """Return the pixels that the prompt makes, made anew."""
    import io

    from PIL import Image

    sampler = inputs(prompt, "KSampler")
    kept = sampler["seed"]
    server.run(
        prompt | {node_id(prompt, "KSampler"): {"class_type": "KSampler", "inputs": sampler | {"seed": kept + 1}}}
    )
    result = server.run(prompt)
    assert result.error is None, result.error
    return Image.open(io.BytesIO(server.image(result.images[0]))).tobytes()


async def interrupted(server: ComfyUIServer, prompt: Prompt, event: str, node: str) -> str:
    """Queue a prompt, interrupt it at the first ``event`` of ``node``; return the message with which it ends."""
    async with aiohttp.ClientSession(server.url) as session, session.ws_connect("/ws?clientId=test") as socket:
        await session.post("/prompt", json={"prompt": prompt, "client_id": "test"})
        done = False
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            said = json.loads(message.data)
            if not done and said["type"] == event and said["data"].get("node") == node:
                await session.post("/interrupt", json={})
                done = True
            if said["type"] in ENDS:
                return said["type"]
    return "closed"


@pytest.mark.parametrize(
    ("event", "class_type"),
    [
        ("progress", "IMAGDressingModelLoader"),
        ("executing", "IMAGDressingEncodeGarment"),
        ("executing", "IMAGDressingApply"),
        ("progress", "KSampler"),
    ],
    ids=["loading", "encoding", "dressing", "sampling"],
)
def test_an_interrupt_while(server: ComfyUIServer, prompt: Prompt, event: str, class_type: str):
    inputs(prompt, "KSampler")["steps"] = 3
    before = image(server, prompt)
    server.forget()  # so that every stage is gone through again
    assert asyncio.run(interrupted(server, prompt, event, node_id(prompt, class_type))) == "execution_interrupted"
    assert image(server, prompt) == before


def test_two_prompts_in_flight_make_the_images_they_make_alone(server: ComfyUIServer, prompt: Prompt):
    other = json.loads(json.dumps(prompt))
    inputs(other, "IMAGDressingApply")["strength"] = 0.4
    inputs(other, "KSampler")["seed"] = 7
    alone = [image(server, one) for one in (prompt, other)]
    ids = [server.queue(one) for one in (prompt, other) * 2]
    for one, queued in zip((prompt, other) * 2, ids, strict=True):
        assert isinstance(queued, str)
        assert server.wait(one, queued).error is None
    assert [image(server, one) for one in (prompt, other)] == alone


@pytest.fixture
def saved(server: ComfyUIServer, prompt: Prompt) -> Iterator[Path]:
    """The prompt's garment, saved."""
    prefix = f"fault{next(NUMBERS)}"  # another each time: ComfyUI does not repeat what it has just done
    result = server.run(saving(prompt, prefix))
    assert result.error is None, result.error
    (file,) = (synthetic_base() / GARMENTS).glob(f"{prefix}_*")
    yield file
    file.unlink(missing_ok=True)


def saving(prompt: Prompt, prefix: Any) -> Prompt:
    encode = node_id(prompt, "IMAGDressingEncodeGarment")
    save = {"garment": [encode, 0], "filename_prefix": prefix}
    return prompt | {"save garment": {"class_type": "IMAGDressingSaveGarment", "inputs": save}}


def with_saved_garment(prompt: Prompt, name: Any) -> Prompt:
    with_saved = json.loads(json.dumps(prompt))
    with_saved["load"] = {"class_type": "IMAGDressingLoadGarment", "inputs": {"garment_name": name}}
    inputs(with_saved, "IMAGDressingApply")["garment"] = ["load", 0]
    return with_saved


def test_a_garment_whose_file_is_cut_while_it_is_loaded_is_refused_until_it_is_whole_again(
    server: ComfyUIServer, prompt: Prompt, saved: Path
):
    with_saved = with_saved_garment(prompt, saved.name)
    before = image(server, with_saved)
    whole = saved.read_bytes()
    with saved.open("r+b") as file:
        file.truncate(1000)  # in place: whoever still had it mapped would die of it
    inputs(with_saved, "KSampler")["seed"] += 5
    error = server.run(with_saved).error
    assert error is not None and f"{saved.name} is damaged, incomplete or something else (1,000 bytes found)" in error
    inputs(with_saved, "KSampler")["seed"] -= 5
    saved.write_bytes(whole)
    assert image(server, with_saved) == before


NAN = float("nan")
ABSURD: list[tuple[str, str, Any]] = [
    *(("IMAGDressingApply", "strength", value) for value in (-1.0, 6.0, 1e300, NAN, float("inf"), "x", {}, None)),
    *(("IMAGDressingApply", name, value) for name in ("start_percent", "end_percent") for value in (-0.1, 1.1, NAN)),
    *(("IMAGDressingEncodeGarment", "width", value) for value in (0, -64, 4096, 10**9, 10**30, NAN, "wide", [])),
    *(("IMAGDressingEncodeGarment", "fit", value) for value in ("stretch", "", "../official", 7, None, {"a": 1})),
    *(("IMAGDressingModelLoader", "model_name", value) for value in ("\0", "x" * 100_000, 7, None, {"a": 1}, "..\\x")),
]  # fmt: skip


@pytest.mark.parametrize(("class_type", "name", "value"), ABSURD, ids=lambda value: str(value)[:20])
def test_absurd_values_sent_straight_to_the_api_are_refused(
    server: ComfyUIServer, prompt: Prompt, class_type: str, name: str, value: Any
):
    inputs(prompt, class_type)[name] = value
    assert "Traceback" not in refused(server, prompt)


@pytest.mark.parametrize(
    ("class_type", "name", "kind", "value"),
    [
        ("IMAGDressingApply", "strength", "Float", 1e9),
        ("IMAGDressingApply", "start_percent", "Float", -3.0),
        ("IMAGDressingApply", "end_percent", "Float", 1e9),
        ("IMAGDressingEncodeGarment", "width", "Int", 0),
        ("IMAGDressingEncodeGarment", "width", "Int", 10**9),
        ("IMAGDressingEncodeGarment", "height", "Int", -64),
    ],
)
def test_values_out_of_range_over_a_link_are_refused_by_name(
    server: ComfyUIServer, prompt: Prompt, class_type: str, name: str, kind: str, value: Any
):
    """ComfyUI checks what a widget holds, and not what another node gives."""
    prompt["value"] = {"class_type": f"Primitive{kind}", "inputs": {"value": value}}
    inputs(prompt, class_type)[name] = ["value", 0]
    assert f"{name} is {value:g}, which is outside" in refused(server, prompt)


def refused(server: ComfyUIServer, prompt: Prompt) -> str:
    error = server.run(prompt).error
    assert error
    assert len(error) < 5000
    return error


@pytest.mark.parametrize(
    "prefix",
    ["../out", "/out", "a/../../out", "link/out", "link/new/out", "\0", "\ud800", "x" * 300],
    ids=lambda prefix: str(prefix)[:20].encode("unicode_escape").decode(),
)
def test_a_prefix_that_leads_out_of_the_folder_writes_nothing(
    server: ComfyUIServer, prompt: Prompt, saved: Path, tmp_path: Path, prefix: Any
):
    link = saved.parent / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    before = everything_below(saved.parent.parent)
    try:
        assert "Traceback" not in refused(server, saving(prompt, prefix))
        assert everything_below(saved.parent.parent) == before
        assert list(tmp_path.iterdir()) == []
    finally:
        link.unlink()


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("name", ["../imagdressing/IMAGDressing-v1_512.pt", "/etc/passwd", "..", "", "x" * 5000])
def test_a_garment_name_that_leads_out_of_the_folder_is_refused(
    server: ComfyUIServer, prompt: Prompt, saved: Path, name: str
):
    assert "No saved garment named" in refused(server, with_saved_garment(prompt, name))


def test_a_link_to_what_is_no_garment_tells_nothing_of_it(
    server: ComfyUIServer, prompt: Prompt, saved: Path, tmp_path: Path
):
    secret = tmp_path / "secret"
    secret.write_text("a secret " * 100)
    link = saved.with_name("link.safetensors")
    link.symlink_to(secret)
    try:
        error = refused(server, with_saved_garment(prompt, link.name))
        assert "link.safetensors is damaged, incomplete or something else" in error
        assert "secret" not in error
    finally:
        link.unlink()


@pytest.fixture(scope="module")
def image_before(server: ComfyUIServer) -> bytes:
    """The image of the tiny workflow, from a ComfyUI that was never disturbed; that one then makes room."""
    made = image(server, make_small(shipped_prompt(server)))
    server.forget()
    return made


def test_a_full_disk_is_said_and_leaves_nothing(image_before: bytes):
    base = synthetic_base()
    with serving(*HALF, base=base, prefix=LITTLE_ROOM) as server:
        prompt = make_small(shipped_prompt(server))
        before = everything_below(base / GARMENTS)
        assert "Could not write" in refused(server, saving(prompt, "full"))
        assert everything_below(base / GARMENTS) == before
        assert image(server, prompt) == image_before


def test_a_comfyui_killed_with_a_queue_makes_the_same_image_when_it_is_back(image_before: bytes):
    base = synthetic_base()
    garments = base / GARMENTS
    with contextlib.suppress(requests.ConnectionError), serving(*HALF, base=base) as server:
        prompt = saving(make_small(shipped_prompt(server)), "killed")
        for seed in range(3):
            inputs(prompt, "KSampler")["seed"] = seed
            assert not isinstance(server.queue(prompt), Result)
        wait_until(lambda: any(garments.glob(".imagdressing-*")) or any(garments.glob("killed_*")), seconds=240)
        os.kill(server.pid, signal.SIGKILL)
    with serving(*HALF, base=base) as server:
        prompt = make_small(shipped_prompt(server))
        assert image(server, prompt) == image_before
        for file in garments.glob("killed_*"):
            assert server.run(with_saved_garment(prompt, file.name)).error is None  # whole, since it is there
            file.unlink()
    for scratch in garments.glob(".imagdressing-*"):
        scratch.unlink()


def wait_until(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.001)
