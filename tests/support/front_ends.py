"""The editor is released apart from ComfyUI: the newest release, fetched for the browser tests."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from support.comfyui_release import HOME

PACKAGE = "comfyui-frontend-package"
NEWEST = ("1.58.1", "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9")  # version, sha256 of the wheel


def newest_front_end() -> Path:
    """Return the folder to give to ComfyUI's ``--front-end-root``, fetching the release when it is not there."""
    version, sha256 = NEWEST
    root = HOME / "front_ends" / version / "comfyui_frontend_package" / "static"
    if not (root / "index.html").is_file():
        with tempfile.TemporaryDirectory() as scratch:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
            subprocess.run([*download, f"{PACKAGE}=={version}"], check=True)
            (wheel,) = Path(scratch).glob("*.whl")
            found = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if found != sha256:
                sys.exit(f"{wheel.name} has sha256 {found}, expected {sha256}. It was not unpacked.")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(HOME / "front_ends" / version)
    return root
