"""Making a catalogue: in this process, or by workers on a Ray cluster that may come and go."""

import json
import logging
import os
import pickle
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..command_line import made_by
from ..errors import IMAGDressingError, first_line, packages
from .maker import Done, Maker, Models, Style
from .rows import Row

RECORD = "run.json"  # in the catalogue's folder


@dataclass(frozen=True)
class Setting:
    """One run of a catalogue.

    Attributes:
        folder: The catalogue's folder. On a cluster, all machines share it.
        token: Of this run; a worker that does not find it in the folder's record sees another folder.
    """

    folder: Path
    models: Models
    style: Style
    device: str = "cpu"
    batch: int = 1
    token: str = ""


def write_record(setting: Setting) -> None:
    setting.folder.mkdir(parents=True, exist_ok=True)
    record = {"token": setting.token, **made_by(), "weights": setting.models.digests()}
    (setting.folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def new_token() -> str:
    return uuid.uuid4().hex


def make_here(jobs: Sequence[Sequence[Row]], setting: Setting) -> Iterator[Done]:
    """Make all images in this process; yield each as soon as it is done."""
    maker = Maker(setting.models, setting.style, setting.device, setting.batch)
    for rows in jobs:
        yield from maker.make(rows)


def make_on_ray(
    jobs: Sequence[Sequence[Row]], setting: Setting, address: str | None, workers: int | None
) -> Iterator[Done]:
    """Make all images on a Ray cluster, a garment to a worker; yield those of a garment as soon as they are done.

    Ray starts a worker that dies again, here or on another machine, and gives its garment to one that lives.

    Args:
        jobs: The rows of each garment.
        address: Of the cluster; None starts Ray on this machine alone.
        workers: How many; None for one on each GPU, or on each machine without GPUs.

    Raises:
        IMAGDressingError: No cluster answers, or a worker has other files than this machine.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray, started here, would report its use to its makers
    with packages("A catalogue on several workers", "cluster"):
        import ray
        import ray.data
    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise IMAGDressingError(
            f"This machine cannot join the Ray cluster at {address}: {first_line(error)}. Start one with: ray start "
            "--head. If it runs, give this command the same RAY_AUTH_MODE as ray start had: token, where "
            "~/.ray/auth_token exists."
        ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    count, needs = _share(setting.device, workers)
    made: Any = ray.data.from_items([pickle.dumps(rows) for rows in jobs], override_num_blocks=len(jobs)).map_batches(
        Worker,
        fn_constructor_args=(setting, needs["num_cpus"]),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count),
        **needs,
    )
    try:
        for row in made.iter_rows():
            if row["fatal"]:
                raise IMAGDressingError(row["fatal"])
            yield row["image"], row["problem"]
    finally:
        ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Raise IMAGDressingError at once where nothing listens: Ray itself tries for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise IMAGDressingError(f"No Ray cluster answers at {address}: {first_line(error)}.") from error


def _share(device: str, workers: int | None) -> tuple[int, dict[str, Any]]:
    """Return the number of workers and what each takes of its machine, as Ray counts it."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if device.startswith("cuda"):
        gpus = int(sum(one.get("GPU", 0) for one in machines))
        if not gpus:
            raise IMAGDressingError(f"--device {device} cannot be used: this cluster has no GPU.")
        return workers or gpus, {"num_cpus": 1, "num_gpus": 1}
    count = workers or len(machines)
    on_each = -(-count // len(machines))  # rounded up
    return count, {"num_cpus": max(1, int(min(one["CPU"] for one in machines)) // on_each)}


class Worker:
    """What Ray Data runs on each worker: it loads the models with its first garment, and keeps them.

    Args:
        setting: Of the run.
        threads: On the CPU. All workers take as many, whatever their machines' environments say, because sums on other
            numbers of threads round otherwise.
    """

    def __init__(self, setting: Setting, threads: int = 1) -> None:
        self._setting, self._threads = setting, threads
        self._maker: Maker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        try:
            done = [one for rows in batch["item"] for one in self._ready().make(pickle.loads(rows))]
        except IMAGDressingError as error:  # a value, since Ray would wrap it in traces
            return {"image": [""], "problem": [""], "fatal": [str(error)]}
        return {"image": [name for name, _ in done], "problem": [why for _, why in done], "fatal": [""] * len(done)}

    def _ready(self) -> Maker:
        if self._maker is None:
            import torch

            _require_same(self._setting)
            torch.set_num_threads(self._threads)
            self._maker = Maker(self._setting.models, self._setting.style, self._setting.device, self._setting.batch)
        return self._maker


def _require_same(setting: Setting) -> None:
    """Raise IMAGDressingError unless this machine has the folder, the version and the weights of the run's start."""
    import platform

    here, path = platform.node(), setting.folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    if record.get("token") != setting.token:
        raise IMAGDressingError(
            f"{here} does not see this run's {path}. --out must be a folder that all machines share, at the same path."
        )
    found = {"version": __version__, "weights": setting.models.digests()}
    different = [name for name, value in found.items() if record[name] != value]
    if different:
        raise IMAGDressingError(
            f"{here} has other {different[0]} than the machine that started the run: {found[different[0]]}, not "
            f"{record[different[0]]}. Install the same version and the same models on all machines."
        )
