"""ComfyUI-Manager's own *Install via Git URL*, in the real ComfyUI: it clones, installs what is needed, and runs."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
from support import fresh
from support.comfyui_release import PACK_NAME, REPOSITORY
from support.comfyui_server import serving
from support.contract import RELEASED

# The button is off until the user allows it; security_level is what Managers before 4.2 ask for.
CONFIG = "[default]\nallow_git_url_install = true\nsecurity_level = normal-\nnetwork_mode = offline\n"
INSTALL = "/v2/customnode/install/git_url"
FLAGS = ("--enable-manager", "--enable-manager-legacy-ui")  # the second has the button


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def repository_url(tmp_path: Path) -> Iterator[str]:
    """This repository behind an address as a git host gives one."""
    bare = tmp_path / "git" / f"{PACK_NAME}.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", f"file://{REPOSITORY}", str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=bare.parent)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{bare.name}"
        server.shutdown()
        thread.join()


def installed_packages() -> str:
    command = [sys.executable, "-m", "pip", "list", "--format=freeze"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_install_via_git_url(repository_url: str, tmp_path: Path):
    base = fresh.base(tmp_path / "base")
    (base / "user" / "__manager").mkdir()
    (base / "user" / "__manager" / "config.ini").write_text(CONFIG)
    packages = installed_packages()
    with serving(*FLAGS, base=base) as server:
        assert fresh.pack_nodes(server) == {}
        answer = requests.post(server.url + INSTALL, data=repository_url, timeout=120)
        assert answer.status_code == 200, server.log.read_text()
        log = server.log.read_text()
    assert "Installation was successful" in log
    assert (base / "custom_nodes" / PACK_NAME / "__init__.py").is_file()
    assert installed_packages() == packages  # ComfyUI had all that the pack needs

    with serving(*FLAGS, base=base) as restarted:
        assert set(RELEASED) <= set(fresh.pack_nodes(restarted)), restarted.log.read_text()
