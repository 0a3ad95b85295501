"""The host's folder for IMAGDressing checkpoints, and a clear word about what is in it."""

from pathlib import Path

import folder_paths

from ...imagdressing_core.checkpoint import FILE_SUFFIXES
from ...imagdressing_core.diagnosis import OFFICIAL_NAME, OFFICIAL_SOURCE
from ...imagdressing_core.errors import IMAGDressingError

FOLDER = "imagdressing"


def register_model_folder() -> None:
    """Add ``models/imagdressing`` to the folders that ``extra_model_paths.yaml`` may already have given."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    paths, suffixes = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(suffixes) | set(FILE_SUFFIXES))


def checkpoint_names() -> list[str]:
    """Return the names of all files that may be a checkpoint, as the host lists them."""
    return folder_paths.get_filename_list(FOLDER)


def checkpoint_path(name: str) -> Path:
    """Return the file of that name below one of the folders.

    Raises:
        IMAGDressingError: there is none; the message says where was looked and what is there.
    """
    path = folder_paths.get_full_path(FOLDER, name) if name in checkpoint_names() else None
    if path is None:
        raise IMAGDressingError(_describe_missing(name))
    return Path(path)


def checkpoint_folder() -> Path:
    """Return the folder that new checkpoints are written to: the first one, as the host does."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def _describe_missing(name: str) -> str:
    folders = ", ".join(folder_paths.get_folder_paths(FOLDER))
    names = checkpoint_names()
    content = f"They hold: {', '.join(names)}." if names else "They hold no checkpoint."
    return (
        f"No IMAGDressing checkpoint named {name!r}. Searched: {folders}. {content} "
        f"Download {OFFICIAL_NAME} from {OFFICIAL_SOURCE} into one of these folders, then press R to refresh the list."
    )
