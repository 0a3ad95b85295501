"""The catalogue on a Ray cluster: two machines' worth of Ray on this one, workers killed, a machine that leaves."""

import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from imagdressing_core.catalogue.maker import Models, Style
from imagdressing_core.catalogue.run import RECORD, Setting, Worker
from imagdressing_core.errors import IMAGDressingError

from .conftest import Command, images


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with a core each. A worker needs a core, so there is one on each machine.

    Their environment asks for more threads than a worker has cores: no image may depend on that.
    """
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    settings |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        from ray.cluster_utils import Cluster

        machine: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 500_000_000}
        made: Any = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
        made.leaves = made.add_node(**machine)
        yield made
        processes = [one for one in psutil.Process().children(recursive=True) if "ray" in " ".join(one.cmdline())]
        made.shutdown()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert processes and not alive


@pytest.fixture
def here(command: Command, manifest: Path, tmp_path: Path) -> dict[str, bytes]:
    """The images as this process makes them."""
    command(manifest, tmp_path / "here")
    return images(tmp_path / "here")


def after_the_first_image(out: Path, act: Callable[[], object]) -> threading.Thread:
    def watch() -> None:
        while not images(out):
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def kill_a_worker() -> None:
    workers = [one for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::MapWorker")]
    workers[0].kill()


def test_images_are_equal_whichever_worker_made_them(
    cluster: Any, command: Command, manifest: Path, tmp_path: Path, here: dict[str, bytes]
):
    result = command(manifest, tmp_path / "out", "--address", cluster.address)
    assert result.exit_code == 0, result.output
    assert images(tmp_path / "out") == here


def test_a_killed_worker_loses_and_repeats_nothing(
    cluster: Any, command: Command, manifest: Path, tmp_path: Path, here: dict[str, bytes]
):
    out = tmp_path / "out"
    before: dict[Path, int] = {}

    def kill() -> None:
        kill_a_worker()
        before.update({path: path.stat().st_mtime_ns for path in (out / "images").glob("*.png")})

    killed = after_the_first_image(out, kill)
    result = command(manifest, out, "--address", cluster.address)
    killed.join()
    assert result.exit_code == 0, result.output
    assert images(out) == here
    assert before and {path: path.stat().st_mtime_ns for path in before} == before


def test_a_machine_that_leaves_loses_nothing(
    cluster: Any, command: Command, manifest: Path, tmp_path: Path, here: dict[str, bytes]
):
    out = tmp_path / "out"
    left = after_the_first_image(out, lambda: cluster.remove_node(cluster.leaves, allow_graceful=False))
    result = command(manifest, out, "--address", cluster.address)
    left.join()
    assert result.exit_code == 0, result.output
    assert images(out) == here


def test_no_cluster_is_said_with_its_address(command: Command, manifest: Path, tmp_path: Path):
    with pytest.raises(IMAGDressingError, match=r"No Ray cluster answers at 127\.0\.0\.1:9"):
        command(manifest, tmp_path / "out", "--address", "127.0.0.1:9")


def test_where_a_cluster_cannot_be_joined_its_token_is_named(
    command: Command, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What Ray raises there, it raises after half a minute; it does not name the token."""
    import ray

    def refused(**_: Any) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", refused)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(IMAGDressingError, match=f"join the Ray cluster at {address}: .*RAY_AUTH_MODE"):
            command(manifest, tmp_path / "out", "--address", address)


def test_a_worker_says_what_it_does_not_share_with_the_machine_that_started_the_run(
    command: Command, manifest: Path, tmp_path: Path, models: list[str]
):
    command(manifest, tmp_path / "out")
    record = tmp_path / "out" / RECORD
    token = json.loads(record.read_text())["token"]
    base, checkpoint, image_encoder = (Path(models[i]) for i in (1, 3, 5))
    setting = Setting(tmp_path / "out", Models(base, checkpoint, image_encoder), Style(), token=token)

    def said() -> str:
        return Worker(setting)({"item": [pickle.dumps([])]})["fatal"][0]

    assert "has other weights than the machine that started the run" in said()
    record.write_text(json.dumps({"token": "of another run"}))
    assert "--out must be a folder that all machines share" in said()
    record.unlink()
    assert "does not see this run's" in said()
