"""One file that describes a whole evaluation: the cases, the methods, the models that make masks and poses, the scores.

Whatever is there already is kept, so a run that was stopped goes on where it was.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from ..command_line import read_toml
from ..errors import IMAGDressingError, packages
from .annotate import ClothesParser, PoseEstimator, Work, annotate
from .images import is_file
from .launch import Processes, child
from .manifest import MASKS, POSES, Case, Method, cases_of_garments, read_igpair, read_manifest, write_manifest
from .paper import Mode
from .provenance import text_digest
from .weights import DETECTOR, LABELS, PARSER, POSE_ESTIMATOR

with packages("A run file"):
    from pydantic import ConfigDict
    from pydantic.dataclasses import dataclass
    from tqdm import tqdm

STRICT = ConfigDict(extra="forbid")
SOURCES, WAYS = ("manifest", "igpair", "garments"), ("make", "command", "folder")
MANIFEST, INPUTS = "manifest.csv", "inputs"  # in the run's output
LONGEST_REASON = 2000  # letters of what a command printed last


@dataclass(frozen=True, config=STRICT)
class Cases:
    """The source of the cases: exactly one of ``manifest``, ``igpair`` and ``garments``.

    Attributes:
        manifest: A manifest, as the command ``evaluate`` reads it.
        igpair: IGPair's published JSON, a list of {"image_file", "cloth_file", "text"}. The person of an entry gives
            the pose and the face.
        root: The folder that IGPair's paths are relative to.
        garments: A folder of garments' photographs.
        prompts: One image of each garment is made for each of these.
        count: How many cases are taken, spread evenly over all. All, if it is left out.
    """

    manifest: Path | None = None
    igpair: Path | None = None
    root: Path = Path()
    garments: Path | None = None
    prompts: tuple[str, ...] = ()
    count: int | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in SOURCES) != 1:
            raise ValueError(f"name one of {', '.join(SOURCES)}")
        if (self.garments is None) == bool(self.prompts):
            raise ValueError("garments need prompts, and nothing else has them")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count}, but at least 1 is needed")


@dataclass(frozen=True, config=STRICT)
class Masks:
    """The clothes parser, a folder or a hub id, and its names for the garments' pixels."""

    weights: str = PARSER.hub_id
    labels: tuple[str, ...] = LABELS


@dataclass(frozen=True, config=STRICT)
class Poses:
    """The pose estimator and the person detector, folders or hub ids; without a detector an image is one person's."""

    weights: str = POSE_ESTIMATOR.hub_id
    detector: str = DETECTOR.hub_id


@dataclass(frozen=True, config=STRICT)
class RunFile:
    """A whole evaluation. Paths are relative to the folder in which the command is started.

    Attributes:
        cases: Where the cases come from.
        methods: For each method either ``make``, a command of ``imagdressing_core.baselines``, with that command's
            options, and with ``python`` where another environment runs it; or ``command``, an own one, in which
            ``{manifest}`` and ``{out}`` are replaced; or the ``folder`` of its images, if they are made already.
        masks: The model that marks garments. Without it no mask is made.
        poses: The models that draw poses. Without them no pose is drawn.
        output: The folder of everything that the run makes.
        score: As the option of ``evaluate``.
        mode: Likewise.
        compare: Likewise.
        device: Where models run that make masks and poses and that score; a method has its own option.
        weights: By name, weights that are not to come from the hub.
        images: The number of cases whose images the page shows.
    """

    cases: Cases
    methods: dict[str, dict[str, Any]]
    masks: Masks | None = None
    poses: Poses | None = None
    output: Path = Path("evaluation")
    score: tuple[str, ...] = ("cami-u",)
    mode: Mode = "corrected"
    compare: str | None = None
    device: str = "cpu"
    weights: dict[str, str] = field(default_factory=dict)
    images: int = 100

    def __post_init__(self) -> None:
        for name in ("methods", "score"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if self.images < 0:
            raise ValueError(f"images is {self.images}, but at least 0 is needed")
        folders: dict[str, str] = {}
        for name, method in self.methods.items():
            _require_method(f"methods.{name}", method)
            if "folder" in method:
                continue
            folder = _file_name(name)
            if folder in (MANIFEST, INPUTS) or not folder.strip("."):
                raise ValueError(f"methods.{name} needs another name: {self.output / folder} is no folder of its own")
            other = folders.setdefault(folder, name)
            if other != name:
                raise ValueError(f"the methods {other} and {name} would share the folder {self.output / folder}")


def _require_method(name: str, method: dict[str, Any]) -> None:
    """Raise ValueError if a method's entry is of none of the three ways; ``make`` alone has further options."""
    if sum(way in method for way in WAYS) != 1:
        raise ValueError(f"{name} needs one of {', '.join(WAYS)}")
    for way in ("make", "folder", "python"):
        if not isinstance(method.get(way, ""), str):
            raise ValueError(f"{name}.{way} is {method[way]!r}, but a text is needed")
    command = method.get("command", [""])
    if not isinstance(command, list) or not command or not all(isinstance(one, str) for one in command):
        raise ValueError(f"{name}.command is {command!r}, but a list of texts is needed")
    if "make" not in method and len(method) > 1:
        raise ValueError(f"{name}.{next(one for one in method if one not in WAYS)} is unknown")


def read_run_file(path: Path) -> RunFile:
    return read_toml(path, RunFile, "a run file of an evaluation")


class Preparation:
    """Makes everything that is scored, this process its share, and collects what fails."""

    def __init__(self, run: RunFile, ours: Processes) -> None:
        self._run = run
        self._ours = ours
        self._failed: list[str] = []
        self._annotators: dict[str, ClothesParser | PoseEstimator] = {}
        device = ours.device_of(run.device)
        if run.masks is not None:
            self._annotators[MASKS] = ClothesParser(run.masks.weights, run.masks.labels, device)
        if run.poses is not None:
            self._annotators[POSES] = PoseEstimator(run.poses.weights, run.poses.detector, device)

    def prepare(self) -> tuple[list[Case], list[Method]]:
        """Make what is missing and return the cases and the methods.

        Raises:
            IMAGDressingError: a step failed. The others have been done; the message lists all that failed.
        """
        run = self._run
        made = {name: Path(method.get("folder", run.output / _file_name(name))) for name, method in run.methods.items()}
        methods = [Method(name, folder) for name, folder in made.items()]
        cases = self._inputs(cases_of(run.cases))
        for method in methods:
            self._step(method.name, lambda one=method: self._make(one))
        for method in methods:
            names = [case.file_name for case in cases if is_file(method.folder / case.file_name)]
            for kind in self._annotators:
                folder = method.folder / kind
                work = [Work(method.folder / name, (folder / name).with_suffix(".png")) for name in names]
                self._annotate(kind, work, method.name)
        failed = list(dict.fromkeys(self._ours.gathered(self._failed)))
        if failed:
            raise IMAGDressingError(
                "Nothing is scored, because these steps failed; all others are done. Start the command again when they "
                "can run.\n" + "\n".join(f"- {one}" for one in failed)
            )
        return cases, methods

    def _step(self, name: str, do: Callable[[], object]) -> None:
        """Do a step and wait until every process has."""
        try:
            do()
        except IMAGDressingError as error:
            self._failed.append(f"{name}: {error}")
        self._ours.gathered([None])

    def _inputs(self, cases: Sequence[Case]) -> list[Case]:
        """Mark the garments and draw the poses that the cases lack, and write the whole manifest."""
        folder, masks, poses = self._run.output / INPUTS, [], []
        completed: list[Case] = []
        for case in cases:
            if case.garment_mask is None and MASKS in self._annotators:
                masks.append(Work(case.garment, folder / MASKS / _made_name(case.garment)))
                case = replace(case, garment_mask=masks[-1].target)
            if case.pose is None and case.person is not None and POSES in self._annotators:
                poses.append(Work(case.person, folder / POSES / _made_name(case.person)))
                case = replace(case, pose=poses[-1].target)
            completed.append(case)
        self._annotate(MASKS, list(dict.fromkeys(masks)), "the garments")
        self._annotate(POSES, list(dict.fromkeys(poses)), "the persons")
        if self._ours.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(completed, self._run.output / MANIFEST)
        self._ours.gathered([None])
        return list(read_manifest(self._run.output / MANIFEST))

    def _annotate(self, kind: str, work: Sequence[Work], of: str) -> None:
        """Make the masks or poses that are missing, if a model for them is named."""
        if kind in self._annotators:
            title, own = f"{kind} of {of}", self._ours.share_of(work)
            bar = tqdm(own, desc=title, unit=" images", disable=not self._ours.is_first)
            self._step(title, lambda: annotate(bar, self._annotators[kind]))

    def _make(self, method: Method) -> None:
        """Run a method's command: every process of a launch runs it, and it takes its share of the manifest."""
        command = method_command(self._run.methods[method.name], self._run.output / MANIFEST, method.folder)
        if command is None:
            if not method.folder.is_dir():
                raise IMAGDressingError(f"{method.folder} is no folder.")
            return
        if self._ours.is_first:
            print(f"{method.name}:", file=sys.stderr)
        try:
            stdout = None if self._ours.is_first else subprocess.DEVNULL
            with child(command, stdout=stdout, stderr=subprocess.PIPE) as process:
                said = self._passed_on(process)
                status = process.wait()
        except OSError as error:
            raise IMAGDressingError(f"{command[0]} cannot be started: {error}") from error
        if status:
            raise IMAGDressingError(said.strip() or f"{command[0]} ended with status {status}")

    def _passed_on(self, process: "subprocess.Popen[bytes]") -> str:
        """Show what a command writes to its standard error, on the first process only, and return its last lines."""
        said = b""
        assert process.stderr is not None
        while chunk := process.stderr.read1():  # pyright: ignore[reportAttributeAccessIssue]
            said = (said + chunk)[-LONGEST_REASON:]
            if self._ours.is_first:
                sys.stderr.write(chunk.decode(errors="replace"))
                sys.stderr.flush()
        text = said.decode(errors="replace").replace("\r", "\n")
        return text[text.rfind("Error: ") :].removeprefix("Error: ") if "Error: " in text else text[-300:]


def cases_of(source: Cases) -> list[Case]:
    """Return the cases of a source, in its order.

    Raises:
        IMAGDressingError: the source cannot be read, or holds nothing.
    """
    if source.manifest is not None:
        found = list(read_manifest(source.manifest))
    elif source.igpair is not None:
        found = read_igpair(source.igpair, source.root)
    else:
        found = cases_of_garments(source.garments or Path(), source.prompts)
    if source.count is None or source.count >= len(found):
        return found
    return [found[len(found) * i // source.count] for i in range(source.count)]


def method_command(method: dict[str, Any], manifest: Path, out: Path) -> list[str] | None:
    """Return the command that makes a method's images; None where they are made already."""
    if "command" in method:
        return [str(one).replace("{manifest}", str(manifest)).replace("{out}", str(out)) for one in method["command"]]
    if "make" not in method:
        return None
    options = {name: value for name, value in method.items() if name not in ("make", "python")}
    command = [method.get("python", sys.executable), "-m", "imagdressing_core.baselines", method["make"]]
    command += ["--manifest", str(manifest), "--out", str(out)]
    return command + [text for name, value in options.items() for text in _option(name.replace("_", "-"), value)]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [text for one in (value if isinstance(value, list) else [value]) for text in (f"--{name}", str(one))]


def _made_name(image: Path) -> str:
    return f"{image.stem}-{text_digest(str(image.resolve()))[:8]}.png"


def _file_name(method: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in method)
