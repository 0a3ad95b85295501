"""A server that answers as the Hugging Face Hub does where a file is asked for: metadata, redirect, then the bytes."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

MEGABYTE = 1 << 20


@dataclass
class HubFile:
    """A file of the Hub. content: the bytes it sends; sha256, size: what it says of them.

    cuts: after how many bytes the connection breaks, for the first, second … request; None: it holds.
    stalls: what is set when the connection goes silent instead of breaking.
    """

    content: bytes
    sha256: str = ""
    size: int = 0
    cuts: list[int | None] = field(default_factory=list)
    stalls: threading.Event | None = None

    def __post_init__(self) -> None:
        self.sha256 = self.sha256 or hashlib.sha256(self.content).hexdigest()
        self.size = self.size or len(self.content)


@dataclass
class Hub:
    """What the server has. files: by repository and path; refusals: status and the Hub's error code, likewise.

    ranges: the Range header of each request for bytes, None for a whole file.
    """

    url: str
    files: dict[tuple[str, str], HubFile] = field(default_factory=dict)
    refusals: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def serving_hub() -> Iterator[Hub]:
    """Run a Hub on a free port of this machine; it is gone when the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # pyright: ignore[reportAttributeAccessIssue]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._resolve()

    def do_GET(self) -> None:
        if self.path.startswith("/cdn/"):
            self._send_bytes()
        else:
            self._resolve()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    @property
    def _hub(self) -> Hub:
        return self.server.hub  # pyright: ignore[reportAttributeAccessIssue]

    def _key(self, path: str) -> tuple[str, str]:
        repository, _, source = unquote(path).strip("/").partition("/resolve/main/")
        return repository, source

    def _resolve(self) -> None:
        """Send to where the bytes are, as the Hub does: another host, and size and sha256 in headers of its own."""
        key = self._key(self.path)
        file = self._hub.files.get(key)
        status, code = self._hub.refusals.get(key, (302, "") if file else (404, "EntryNotFound"))
        headers = {"X-Repo-Commit": "0" * 40}
        if file and status == 302:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
            headers["Location"] = self._hub.url.replace("127.0.0.1", "localhost") + "/cdn" + self.path
        elif code:
            headers |= {"X-Error-Code": code, "X-Error-Message": code}
        self._answer(status, headers | {"Content-Length": "0"})

    def _send_bytes(self) -> None:
        file = self._hub.files[self._key(self.path.removeprefix("/cdn"))]
        wanted = self.headers.get("Range")
        self._hub.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        headers = {"Content-Length": str(len(file.content) - start)}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
        self._answer(206 if wanted else 200, headers)
        cut = file.cuts.pop(0) if file.cuts else None
        self.wfile.write(file.content[start:cut])
        if cut is not None:
            self.close_connection = True
            if file.stalls:
                file.stalls.set()
                threading.Event().wait(60)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
