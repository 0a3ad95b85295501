"""The model files, fetched from the Hugging Face Hub into ComfyUI's ``models`` folder, whole and verified.

Run this repository's folder with the Python of ComfyUI (it has huggingface_hub)::

    python ComfyUI/custom_nodes/ComfyUI-IMAGDressing ComfyUI/models

A download that was cut goes on where it stopped, also in the next run. ``HF_ENDPOINT`` names a mirror of the Hub.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from string import hexdigits

from imagdressing_core.command_line import run_command
from imagdressing_core.errors import IMAGDressingError, first_line
from imagdressing_core.files.official_files import ALL_FILES, BASE_FILES, ModelFile, Published, where_to_put
from imagdressing_core.files.storage import flush, require_room

PACK = Path(__file__).parent.parent


def download(files: Iterable[ModelFile], models: Path) -> list[ModelFile]:
    """Bring ``files`` below ``models``, telling of each on the way; return those that are not there in the end."""
    missing: list[ModelFile] = []
    for file in files:
        print(f"{file.path}  {file.size}, {file.licence}", flush=True)
        try:
            _bring(file, models / file.path)
        except IMAGDressingError as error:
            print(f"  {error}", file=sys.stderr)
            missing.append(file)
    return missing


def _bring(file: ModelFile, target: Path) -> None:
    """Download to a hidden file beside ``target``, verify it, and only then give it its name."""
    if target.exists():
        _require_whole(file, target)
        print("  is there")
        return
    published = _ask_hub(file)
    if file.published and published not in file.published:
        raise IMAGDressingError(
            f"{file.url} is now another file than the ones known here: {published.nbytes:,} bytes, sha256 "
            f"{published.sha256}. It was not downloaded. Look for a newer version of ComfyUI-IMAGDressing."
        )
    # Named after its content: what is left of another version is not taken for the beginning of this one.
    partial = target.with_name(f".{target.name}.{published.sha256[:16]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_room(target.parent, published.nbytes - (partial.stat().st_size if partial.exists() else 0))
        _get(file, partial, published.nbytes)
    except OSError as error:
        raise IMAGDressingError(
            f"Could not download to {target.parent}: {first_line(error)}. Check the connection, and that the "
            "folder can be written to and has room. What arrived is kept: run again to go on where it stopped."
        ) from error
    if not _is(partial, published):
        partial.unlink()
        raise IMAGDressingError("What arrived is damaged: it has another sha256. It was deleted; run again.")
    flush(partial)
    partial.replace(target)


def _require_whole(file: ModelFile, target: Path) -> None:
    """Raise IMAGDressingError if ``target`` is not what was published, where that is known; it is kept in any case."""
    if file.published and not any(_is(target, known) for known in file.published):
        raise IMAGDressingError(
            f"{target} is there, but is not the published file; perhaps its download was cut. It was not touched. "
            "Delete or rename it and run again."
        )


def _ask_hub(file: ModelFile) -> Published:
    """Return what the Hub says of the file that it has now.

    Raises:
        IMAGDressingError: it does not answer, or does not give the file; the message says what to do.
    """
    if find_spec("huggingface_hub") is None:
        raise IMAGDressingError("This needs huggingface_hub: pip install huggingface_hub")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    url = hf_hub_url(file.repository, file.source)
    try:
        found = get_hf_file_metadata(url)
    except GatedRepoError as error:
        raise IMAGDressingError(
            f"The authors give {file.name} to those who accept its licence. Do so at "
            f"https://huggingface.co/{file.repository}, then log in (hf auth login, or HF_TOKEN) and run again."
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        raise IMAGDressingError(f"There is no file at {url} (any more). Look for it at {file.repository}.") from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise IMAGDressingError(f"{url} needs a login: hf auth login, or HF_TOKEN.") from error
        raise IMAGDressingError(f"{url} answers with an error: {error.response.status_code}.") from error
    except Exception as error:  # of whichever HTTP library this version of huggingface_hub is built on
        raise IMAGDressingError(f"{url} cannot be reached: {error}") from error
    if found.etag is None or len(found.etag) != 64 or not set(found.etag) <= set(hexdigits) or not found.size:
        raise IMAGDressingError(f"{url} does not tell the file's size and sha256, as the Hub does.")
    return Published(found.etag, found.size)


def _get(file: ModelFile, partial: Path, nbytes: int) -> None:
    """Download what ``partial`` lacks, with a progress bar.

    Raises:
        OSError: the connection was lost, or the disk is full. What arrived until then is kept.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get  # hf_hub_download begins anew in each process
    from huggingface_hub.utils import build_hf_headers

    with partial.open("ab") as part:
        try:
            http_get(
                hf_hub_url(file.repository, file.source),
                part,
                resume_size=part.tell(),
                headers=build_hf_headers(),
                expected_size=nbytes,
                displayed_filename=file.name,
            )
        except OSError:
            raise
        except Exception as error:  # as in _ask_hub
            raise OSError(str(error)) from error


def _is(path: Path, published: Published) -> bool:
    return path.stat().st_size == published.nbytes and _sha256(path) == published.sha256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _chosen(names: Sequence[str], every: bool) -> tuple[ModelFile, ...]:
    by_name = {file.name: file for file in ALL_FILES}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        sys.exit(f"No model file is called {unknown[0]}. There are:\n" + "\n".join(f"  {name}" for name in by_name))
    if names:
        return tuple(by_name[name] for name in names)
    return ALL_FILES if every else BASE_FILES


def main() -> None:
    """Fetch the files that the command line names."""
    run_command(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python {PACK}", description="Fetch the model files.")
    parser.add_argument("models", type=Path, help="the models folder of your ComfyUI")
    parser.add_argument(
        "names", nargs="*", metavar="file", help="names of files; without any, those for the base workflow"
    )
    parser.add_argument("--all", action="store_true", help="the files for all workflows, and MagicClothing's")
    parser.add_argument("--list", action="store_true", help="only say what belongs where")
    arguments = parser.parse_intermixed_args()
    files = _chosen(arguments.names, arguments.all)
    if arguments.list:
        print(where_to_put(files))
        return
    models = arguments.models.absolute()
    if not models.is_dir():
        raise IMAGDressingError(f"{models} is no folder. Give the models folder of your ComfyUI.")
    missing = download(files, models)
    if missing:
        sys.exit(
            f"\nNot there: {len(missing)} of {len(files)}. By hand, they go into {models}:\n" + where_to_put(missing)
        )


if __name__ == "__main__":
    main()
