"""ComfyUI's folders for checkpoints and saved garments, with messages that say what was searched and what to do."""

import difflib
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ...imagdressing_core.errors import IMAGDressingError, shown
from ...imagdressing_core.files.checkpoint import FILE_SUFFIXES
from ...imagdressing_core.files.diagnosis import OFFICIAL_NAME, OFFICIAL_SOURCE

NOTHING_SAVED = "nothing saved yet: run Save Garment, then press R"
"""The one entry of an empty list of garments; the editor would show it as undefined."""

MOST_NAMED = 20
"""Files that a message names; of more than these it names the ones most like the one that is missing."""

ADVICE = "Give a name, or a folder below it and a name, such as summer/shirt."
# Of the editor's, %date:yyyy-MM-dd% and %Node.widget%; what ComfyUI itself fills in has neither a colon nor a dot.
EDITORS_PATTERN = re.compile(r"%(date:[^%]*|[^%/]+\.[^%/]+)%")
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in "123456789¹²³")})


@dataclass(frozen=True)
class ModelFolder:
    """A folder below ComfyUI's ``models``, with those of the same key in ``extra_model_paths.yaml``.

    content: the name of one of its files, for messages. advice: how to get one.
    """

    key: str
    suffixes: frozenset[str]
    content: str
    advice: str

    def register(self) -> None:
        """Add the folder to those that ``extra_model_paths.yaml`` may already have given."""
        folder_paths.add_model_folder_path(self.key, str(Path(folder_paths.models_dir) / self.key))
        paths, suffixes = folder_paths.folder_names_and_paths[self.key]
        folder_paths.folder_names_and_paths[self.key] = (paths, set(suffixes) | self.suffixes)

    def names(self) -> list[str]:
        """Return the names of all files in it, as ComfyUI lists them."""
        return folder_paths.get_filename_list(self.key)

    def path(self, name: Any) -> Path:
        """Return the file of that name, whichever system's separator and case a workflow has it in.

        Raises:
            IMAGDressingError: there is none; the message lists the searched folders and the files in them.
        """
        listed = listed_name(name, self.names()) if isinstance(name, str) else None
        path = None if listed is None else folder_paths.get_full_path(self.key, listed)
        if path is None:
            raise IMAGDressingError(self._describe_missing(name))
        return Path(path)

    def check(self, name: str | None) -> bool | str:
        """Return True or an error message, as ComfyUI expects of ``validate_inputs``.

        As long as a wire has not brought the name, it is None, and the node looks it up when it runs.
        """
        try:
            if name is not None:
                self.path(name)
        except IMAGDressingError as error:
            return str(error)
        return True

    def fingerprint(self, name: str | None) -> tuple[str, int, int] | None:
        """Return a value that changes with the file, as ComfyUI expects of ``fingerprint_inputs``.

        As long as a wire has not brought the name, it is None, and the node runs again when the name changes.
        """
        if name is None:
            return None
        file = self.path(name).stat()
        return name, file.st_mtime_ns, file.st_size

    def first(self) -> Path:
        """Return the folder that new files are written to: the first one, as ComfyUI does."""
        return Path(folder_paths.get_folder_paths(self.key)[0])

    def _describe_missing(self, name: Any) -> str:
        folders = ", ".join(folder_paths.get_folder_paths(self.key))
        names = self.names()
        nearest = (
            difflib.get_close_matches(str(name), names, n=MOST_NAMED, cutoff=0) if len(names) > MOST_NAMED else names
        )
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        held = f"They hold: {', '.join(nearest)}{more}." if names else f"They hold no {self.content}."
        if name == NOTHING_SAVED:
            return f"There is no {self.content} yet. Searched: {folders}. {self.advice}"
        return f"No {self.content} named {shown(name)!r}. Searched: {folders}. {held} {self.advice}"


CHECKPOINTS = ModelFolder(
    "imagdressing",
    frozenset(FILE_SUFFIXES),
    "IMAGDressing checkpoint",
    f"Download {OFFICIAL_NAME} from {OFFICIAL_SOURCE} into one of these folders, then press R to refresh the list.",
)
GARMENTS = ModelFolder(
    "imagdressing_garments",
    frozenset({".safetensors"}),
    "saved garment",
    "Wire the garment of Encode Garment to Save Garment and run that once, then press R to refresh the list.",
)


def listed_name(name: str, names: Iterable[str]) -> str | None:
    r"""Return the one of ``names`` that a workflow of any system means by ``name``, or None.

    Windows lists ``summer\shirt`` where others list ``summer/shirt``, and takes either case for the same file. Macs may
    write é as e and an accent.
    """
    names = list(names)
    if name in names:
        return name
    for same in (_with_slashes, _composed, lambda one: _composed(one).casefold()):
        found = [one for one in names if same(one) == same(name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", _with_slashes(name))


def evaluation_weights(hub_id: str) -> str:
    """Return the folder with the files of that model, by the last part of its hub id; nothing is downloaded.

    Raises:
        IMAGDressingError: it is not there.
    """
    folder = Path(folder_paths.models_dir) / "imagdressing_evaluation" / Path(hub_id).name
    if not folder.is_dir():
        raise IMAGDressingError(f"needs {hub_id}: put its files into {folder}.")
    return str(folder)


def free_garment_path(filename_prefix: Any, width: int = 0, height: int = 0) -> Path:
    """Return a path for a new garment, numbered as ComfyUI numbers saved images.

    Args:
        filename_prefix: A name, perhaps with folders before it, in which ComfyUI fills in %year% and the like.
        width: The garment's width in pixels, for the pattern %width%.
        height: Its height, for %height%.

    Raises:
        IMAGDressingError: the prefix is no file name on every system, holds a pattern that only the editor fills in,
            or leads out of the folder, be it through a link in it; or the folder cannot be written.
    """
    if not isinstance(filename_prefix, str):
        raise IMAGDressingError(f"filename_prefix is {filename_prefix!r}, which is no text. {ADVICE}")
    root = GARMENTS.first()
    prefix = _with_slashes(filename_prefix).replace("%batch_num%", "0")  # as Save Image names the first of a batch
    if not filename_prefix:
        raise IMAGDressingError(f"filename_prefix is empty. {ADVICE}")
    _require_name(prefix)
    try:
        os.fsencode(prefix)
        inside = (root / prefix).parent.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # no name at all: half a surrogate pair, links in a ring
        inside = False
    if not inside:
        raise IMAGDressingError(
            f"filename_prefix {shown(filename_prefix)!r} leads out of {root}, where garments are saved. {ADVICE}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder, name, number, _, _ = folder_paths.get_save_image_path(prefix, str(root), width, height)
        numbered = (Path(folder) / f"{name}_{free:05}.safetensors" for free in itertools.count(number))
        return next(path for path in numbered if not path.exists())
    except Exception as error:  # ComfyUI raises bare Exception; the system OSError, for instance of a name too long
        raise IMAGDressingError(
            f"filename_prefix {shown(filename_prefix)!r} cannot be used below {root}: {shown(error)}. {ADVICE} "
            "Also check that the folder can be written to."
        ) from error


def _require_name(prefix: str) -> None:
    """Raise IMAGDressingError unless every part is a name that all systems take, so that garments can be passed on."""
    pattern = EDITORS_PATTERN.search(prefix)
    if pattern:
        raise IMAGDressingError(
            f"filename_prefix holds {shown(pattern[0])!r}, which only the editor fills in, where it finds that node "
            "and widget. Elsewhere these work: %year%, %month%, %day%, %hour%, %minute%, %second%, %width%, %height%."
        )
    for part in prefix.split("/"):
        forbidden = FORBIDDEN.search(part)
        ends = part not in ("", ".", "..") and part != part.rstrip(". ")
        if forbidden or ends or part.split(".")[0].lower() in DEVICES:
            why = (
                f"with {forbidden[0]!r} in it"
                if forbidden
                else "with a dot or space at its end"
                if ends
                else "as a name"
            )
            raise IMAGDressingError(
                f"filename_prefix {shown(prefix)!r} has the part {shown(part)!r}, which Windows does not take {why}. "
                f"{ADVICE}"
            )
