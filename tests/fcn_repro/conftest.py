"""Fixtures: real data, where they lie, and a web server that misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.places import SHARED


@pytest.fixture(scope="session")
def data() -> Path:
    """Real images and labels; they lie beside the project and are not part of it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@dataclass
class Pause:
    """The first request for a file stops after `after` bytes, says so by `reached`, and waits for `go`."""

    after: int
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Served:
    """A file on the server, and what goes wrong. `drops`: after how many bytes each request in turn ends."""

    content: bytes
    etag: str = '"v1"'
    status: int = 200
    drops: list[int] = field(default_factory=list)
    ignores_range: bool = False
    ignores_if_range: bool = False
    piece: int | None = None
    shift: int = 0
    length: bool = True
    encoding: str = ""
    chunks: int = 0
    """In how many chunks it is sent; one that `drops` cuts lacks the mark of its end."""
    pause: Pause | None = None


class Server:
    """http://127.0.0.1:PORT, its files by name, and the requests that it got: (name, Range, bytes sent)."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.if_range: list[str | None] = []

    def serve(self, name: str, content: bytes, **faults: object) -> str:
        self.files[name] = Served(content, **faults)
        return f"{self.address}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        file = self.files.get(name, Served(b"not here", status=404))
        asked = request.headers.get("Range", "")
        same = file.ignores_if_range or request.headers.get("If-Range", file.etag) == file.etag
        start = (
            int(asked.removeprefix("bytes=").rstrip("-")) if asked and same and not file.ignores_range else 0
        )
        body = file.content[start + file.shift if start else 0 :][: file.piece if start else None]
        sent = body[: file.drops.pop(0)] if file.drops else body
        self.requests.append((name, asked, len(sent)))
        self.if_range.append(request.headers.get("If-Range"))
        if start and start >= len(file.content):
            request.send_response(416)
            request.end_headers()
            return
        request.send_response(206 if start else file.status)
        if start:
            first, total = start + file.shift, len(file.content)
            request.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{total}")
        if file.etag:
            request.send_header("ETag", file.etag)
        if file.chunks:
            request.send_header("Transfer-Encoding", "chunked")
        elif file.length:
            request.send_header("Content-Length", str(len(body)))
        if file.encoding:
            request.send_header("Content-Encoding", file.encoding)
        request.end_headers()
        if file.pause is not None and not file.pause.reached.is_set():
            request.wfile.write(sent[: file.pause.after])
            file.pause.reached.set()
            file.pause.go.wait()
            sent = sent[file.pause.after :]
        request.wfile.write(_chunked(sent, file.chunks, sent == body) if file.chunks else sent)


def _chunked(body: bytes, chunks: int, whole: bool) -> bytes:
    """A body as HTTP/1.1 frames it when it does not tell the length beforehand."""
    size = -(-len(body) // chunks)
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n\r\n" * whole


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A real server on this machine, in a thread."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = Server(http.server_address[1])
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        for file in served.files.values():
            if file.pause is not None:
                file.pause.go.set()
        http.shutdown()
        thread.join()
