"""``python ComfyUI-IMAGDressing``: whole and verified model files in their places, or words on what to do."""

import contextlib
import fcntl
import os
import pty
import random
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.comfyui_release import REPOSITORY
from support.hub import MEGABYTE, Hub, HubFile, serving_hub
from support.rights import WITHOUT_ROOTS_RIGHTS

from imagdressing_core.files.official_files import (
    ALL_FILES,
    BASE_FILES,
    CARTOON,
    CLIP_VISION,
    DENOISING,
    GARMENT,
    VAE,
    ModelFile,
)

CONTENT = random.Random(0).randbytes(24 * MEGABYTE)  # more than two of the pieces that the client writes at once
PIECE = 10 * MEGABYTE


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving_hub() as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def publish(hub: Hub, file: ModelFile, hub_file: HubFile | None = None) -> HubFile:
    published = hub_file or HubFile(b"weights of " + file.name.encode())
    hub.files[file.repository, file.source] = published
    return published


def command(models: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(REPOSITORY), str(models), *arguments]


def environment(url: str, home: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return others | {"HF_ENDPOINT": url, "HF_HOME": str(home / "hub_home")}


def run(url: str, models: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *command(models, *arguments)],
        env=environment(url, models.parent),
        capture_output=True,
        text=True,
        check=False,
    )


def held(models: Path) -> dict[str, bytes]:
    return {str(path.relative_to(models)): path.read_bytes() for path in models.rglob("*") if path.is_file()}


def test_files_arrive_whole_under_the_name_and_in_the_folder_that_the_workflows_name(hub: Hub, models: Path):
    files = (DENOISING, VAE, CLIP_VISION)  # the last is called model.safetensors there
    contents = {file.path: publish(hub, file).content for file in files}
    result = run(hub.url, models, *(file.name for file in files))
    assert result.returncode == 0, result.stderr
    assert held(models) == contents
    assert all(file.licence in result.stdout for file in files)


def test_a_terminal_sees_the_progress(hub: Hub, models: Path):
    publish(hub, VAE)
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run(command(models, VAE.name), env=environment(hub.url, models.parent), stderr=end, check=True)
    os.close(end)
    seen = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # its end is an error
        while piece := screen.read(4096):
            seen += piece
    assert b"100%" in seen


def test_nothing_is_written_but_the_file(hub: Hub, models: Path):
    publish(hub, VAE)
    assert run(hub.url, models, VAE.name).returncode == 0
    assert [path.name for path in models.parent.iterdir()] == ["models"]


def test_a_cut_connection_goes_on_where_it_stopped(hub: Hub, models: Path):
    publish(hub, VAE, HubFile(CONTENT, cuts=[PIECE + MEGABYTE]))
    result = run(hub.url, models, VAE.name)
    assert result.returncode == 0, result.stderr
    assert hub.ranges == [None, f"bytes={PIECE}-"]
    assert held(models) == {VAE.path: CONTENT}


def test_the_next_run_goes_on_where_a_killed_one_stopped(hub: Hub, models: Path):
    silent = threading.Event()
    publish(hub, VAE, HubFile(CONTENT, cuts=[2 * PIECE + MEGABYTE], stalls=silent))
    process = subprocess.Popen(
        command(models, VAE.name),
        env=environment(hub.url, models.parent),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert silent.wait(60)
    while sum(len(content) for content in held(models).values()) < 2 * PIECE:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert VAE.path not in held(models)

    result = run(hub.url, models, VAE.name)
    assert result.returncode == 0, result.stderr
    assert hub.ranges == [None, f"bytes={2 * PIECE}-"]
    assert held(models) == {VAE.path: CONTENT}


def test_what_is_left_of_another_version_is_no_beginning_of_this_one(hub: Hub, models: Path):
    content = publish(hub, VAE).content
    old = models / VAE.folder / f".{VAE.name}.{'0' * 16}.part"
    old.parent.mkdir()
    old.write_bytes(b"of another version")
    assert run(hub.url, models, VAE.name).returncode == 0
    assert held(models)[VAE.path] == content
    assert hub.ranges == [None]


def test_what_arrives_damaged_is_deleted(hub: Hub, models: Path):
    publish(hub, VAE, HubFile(b"damaged", sha256="1" * 64))
    result = run(hub.url, models, VAE.name)
    assert result.returncode == 1
    assert "damaged" in result.stderr
    assert "run again" in result.stderr
    assert held(models) == {}


def test_another_file_under_a_known_name_is_not_downloaded(hub: Hub, models: Path):
    publish(hub, GARMENT)
    result = run(hub.url, models, GARMENT.name)
    assert result.returncode == 1
    assert "another file than the ones known here" in result.stderr
    assert hub.ranges == []
    assert held(models) == {}


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((404, "EntryNotFound"), "There is no file at"),
        ((404, "RepoNotFound"), "There is no file at"),
        ((401, "GatedRepo"), f"accept its licence. Do so at https://huggingface.co/{CARTOON.repository}"),
        ((403, "GatedRepo"), f"accept its licence. Do so at https://huggingface.co/{CARTOON.repository}"),
        ((403, ""), "needs a login"),
        ((500, ""), "answers with an error: 500"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(hub: Hub, models: Path, refusal: tuple[int, str], message: str):
    hub.refusals[CARTOON.repository, CARTOON.source] = refusal
    result = run(hub.url, models, CARTOON.name)
    assert result.returncode == 1
    assert message in result.stderr
    assert CARTOON.url in result.stderr  # in the list of what to do by hand
    assert "Traceback" not in result.stderr
    assert held(models) == {}


def test_one_failure_does_not_stop_the_others(hub: Hub, models: Path):
    hub.refusals[DENOISING.repository, DENOISING.source] = (403, "GatedRepo")
    publish(hub, VAE)
    publish(hub, CLIP_VISION)
    result = run(hub.url, models)
    assert result.returncode == 1
    assert set(held(models)) == {VAE.path, CLIP_VISION.path}
    by_hand = result.stderr.partition("Not there: 2 of 4.")[2]
    assert GARMENT.url in by_hand and DENOISING.url in by_hand and VAE.url not in by_hand


def test_a_disk_without_room_is_said_before_the_download(hub: Hub, models: Path):
    publish(hub, VAE, HubFile(b"small", size=10**18))
    result = run(hub.url, models, VAE.name)
    assert result.returncode == 1
    assert "Not enough room" in result.stderr
    assert "1000000000.00 GB needed" in result.stderr
    assert hub.ranges == []


def test_a_folder_that_cannot_be_written_is_said(hub: Hub, models: Path):
    publish(hub, VAE)
    models.chmod(0o555)
    result = run(hub.url, models, VAE.name, prefix=WITHOUT_ROOTS_RIGHTS)
    assert result.returncode == 1
    assert f"Could not download to {models / VAE.folder}" in result.stderr
    assert "can be written" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_in_its_place_is_kept(hub: Hub, models: Path):
    publish(hub, VAE)
    place = models / VAE.path
    place.parent.mkdir()
    place.write_bytes(b"the user's own")
    result = run(hub.url, models, VAE.name)
    assert result.returncode == 0, result.stderr
    assert "is there" in result.stdout
    assert held(models) == {VAE.path: b"the user's own"}


def test_a_file_in_its_place_that_is_not_the_published_one_is_kept_and_said(hub: Hub, models: Path):
    place = models / GARMENT.path
    place.parent.mkdir()
    place.write_bytes(b"half of it")
    result = run(hub.url, models, GARMENT.name)
    assert result.returncode == 1
    assert f"{place} is there, but is not the published file" in result.stderr
    assert held(models) == {GARMENT.path: b"half of it"}


def test_without_a_connection_it_says_what_belongs_where(models: Path):
    result = run("http://127.0.0.1:9", models)
    assert result.returncode == 1
    by_hand = result.stderr.partition("Not there: 4 of 4.")[2]
    assert str(models) in by_hand
    for file in BASE_FILES:
        assert all(part in by_hand for part in (f"models/{file.path}", file.size, file.url, file.licence))
        assert all(known.sha256 in by_hand for known in file.published[:1])
    assert "rename model.safetensors" in by_hand
    assert "Traceback" not in result.stderr


def test_the_list_needs_no_connection(models: Path):
    result = run("http://127.0.0.1:9", models, "--all", "--list")
    assert result.returncode == 0
    assert all(file.url in result.stdout for file in ALL_FILES)


def test_a_name_that_is_no_model_file_is_answered_with_those_that_are(models: Path):
    result = run("http://127.0.0.1:9", models, "sdxl.safetensors")
    assert result.returncode == 1
    assert "No model file is called sdxl.safetensors" in result.stderr
    assert GARMENT.name in result.stderr


UNDER_WINDOWS = f"""
import runpy, sys
from pathlib import Path
from support.windows import windows_files
with windows_files(Path(sys.argv[1])):
    runpy.run_path({str(REPOSITORY)!r}, run_name="__main__")
"""


def test_a_download_that_was_cut_is_finished_under_windows_rules(hub: Hub, models: Path):
    published = publish(hub, VAE, HubFile(bytes(3 * MEGABYTE), cuts=[MEGABYTE] * 10))

    def fetch() -> subprocess.CompletedProcess[str]:
        paths = {"PYTHONPATH": str(REPOSITORY / "tests")}
        arguments = [sys.executable, "-c", UNDER_WINDOWS, str(models), VAE.name]
        given = environment(hub.url, models.parent) | paths
        return subprocess.run(arguments, env=given, capture_output=True, text=True, check=False)

    cut = fetch()
    assert cut.returncode != 0 and not (models / VAE.path).exists()
    published.cuts.clear()
    whole = fetch()
    assert whole.returncode == 0, whole.stderr
    assert (models / VAE.path).read_bytes() == published.content
    assert [path.name for path in (models / VAE.path).parent.iterdir()] == [VAE.name]
