"""ComfyUI's folders for checkpoints and saved garments, and a clear word about what is in them."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ...imagdressing_core.errors import IMAGDressingError, shown
from ...imagdressing_core.files.checkpoint import FILE_SUFFIXES
from ...imagdressing_core.files.diagnosis import OFFICIAL_NAME, OFFICIAL_SOURCE


@dataclass(frozen=True)
class ModelFolder:
    """A folder below ComfyUI's ``models``, with those of the same key in ``extra_model_paths.yaml``.

    content: what is in it, for messages. advice: where it comes from.
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

    def path(self, name: str) -> Path:
        """Return the file of that name.

        Raises:
            IMAGDressingError: there is none; the message says where was looked and what is there.
        """
        path = folder_paths.get_full_path(self.key, name) if name in self.names() else None
        if path is None:
            raise IMAGDressingError(self._describe_missing(name))
        return Path(path)

    def check(self, name: str) -> bool | str:
        """Return True, or the message of what is wrong, as ComfyUI wants it of ``validate_inputs``."""
        try:
            self.path(name)
        except IMAGDressingError as error:
            return str(error)
        return True

    def fingerprint(self, name: str) -> tuple[str, int, int]:
        """Return what changes when the file does, as ComfyUI wants it of ``fingerprint_inputs``."""
        file = self.path(name).stat()
        return name, file.st_mtime_ns, file.st_size

    def first(self) -> Path:
        """Return the folder that new files are written to: the first one, as ComfyUI does."""
        return Path(folder_paths.get_folder_paths(self.key)[0])

    def _describe_missing(self, name: str) -> str:
        folders = ", ".join(folder_paths.get_folder_paths(self.key))
        names = self.names()
        held = f"They hold: {', '.join(names)}." if names else f"They hold no {self.content}."
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
    "Save one with Save Garment, then press R to refresh the list.",
)


def evaluation_weights(hub_id: str) -> str:
    """Return the folder with the files of that model, by the last part of its hub id; nothing is downloaded.

    Raises:
        IMAGDressingError: it is not there.
    """
    folder = Path(folder_paths.models_dir) / "imagdressing_evaluation" / Path(hub_id).name
    if not folder.is_dir():
        raise IMAGDressingError(f"needs {hub_id}: put its files into {folder}.")
    return str(folder)


def free_garment_path(filename_prefix: str) -> Path:
    """Return a path for a new garment, numbered as ComfyUI numbers saved images.

    Raises:
        IMAGDressingError: the prefix is no file name, or leads out of the folder, be it through a link in it; or the
            folder cannot be written.
    """
    root = GARMENTS.first()
    try:
        os.fsencode(filename_prefix)
        inside = "\0" not in filename_prefix and (root / filename_prefix).parent.resolve().is_relative_to(
            root.resolve()
        )
    except (OSError, RuntimeError, ValueError):  # no name at all: half a surrogate pair, links in a ring
        inside = False
    if not inside:
        raise IMAGDressingError(
            f"filename_prefix {shown(filename_prefix)!r} leads out of {root}, where garments are saved. "
            "Give a name, or a folder below it and a name, such as summer/shirt."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder, name, number, _, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
        numbered = (Path(folder) / f"{name}_{free:05}.safetensors" for free in itertools.count(number))
        return next(path for path in numbered if not path.exists())
    except Exception as error:  # ComfyUI raises bare Exception; the system OSError, for instance of a name too long
        raise IMAGDressingError(
            f"filename_prefix {shown(filename_prefix)!r} cannot be used below {root}: {shown(error)}. "
            "Give a name, or a folder below it and a name, such as summer/shirt, and check that the folder can be "
            "written to."
        ) from error
