"""A web server of the tests' own, which misbehaves as it is told."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nlptl.pretrained import transfer

CONTENT = bytes(range(256)) * 2000  # several blocks of a transfer
HALF = len(CONTENT) // 2
Answer = Callable[[Any, bytes], None]


class Server:
    """Serves what `answers` has for a path, one answer a request and the last one from then on.

    Attributes:
        asked: path and `Range` of every request.
    """

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.answers: dict[str, list[Answer]] = {}
        self.contents: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []

    def serve(self, path: str, *answers: Answer, content: bytes = CONTENT) -> str:
        """Its address."""
        self.answers[path], self.contents[path] = list(answers) or [whole], content
        return self.address + path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server, nothing in the cache, no patience, and no variable that forbids the network."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers.get("Range")))
            answers = found.answers.get(self.path, [missing])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            answer(self, found.contents.get(self.path, b""))

        def log_message(self, *args: Any) -> None:
            pass

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "TIMEOUT", (5.0, 0.5))
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        found = Server(running.server_address[1])
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        running.shutdown()


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket fails the test, even where the error would be caught."""

    def opened(*args: Any, **options: Any) -> Any:
        pytest.fail("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, opened)


def head(handler: Any, status: int, length: int, **headers: str) -> None:
    """The beginning of an answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(length))
    for name, value in {"ETag": '"1"', **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def whole(handler: Any, content: bytes) -> None:
    """As a good server: a range where one is asked for of this version of the file."""
    asked, version = handler.headers.get("Range"), handler.headers.get("If-Range")
    if asked is None or version not in (None, '"1"'):
        head(handler, 200, len(content))
        handler.wfile.write(content)
        return
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    head(handler, 206, len(content) - start, Content_Range=span)
    handler.wfile.write(content[start:])


def without_ranges(handler: Any, content: bytes) -> None:
    head(handler, 200, len(content))
    handler.wfile.write(content)


def half(handler: Any, content: bytes) -> None:
    """The connection closes early."""
    head(handler, 200, len(content))
    handler.wfile.write(content[: len(content) // 2])


def half_of_an_older(handler: Any, content: bytes) -> None:
    head(handler, 200, len(content), ETag='"0"')
    handler.wfile.write(bytes(len(content) // 2))


def corrupted(handler: Any, content: bytes) -> None:
    head(handler, 200, len(content))
    handler.wfile.write(content[:-1] + b"!")


def another_piece(handler: Any, content: bytes) -> None:
    head(handler, 206, 5, Content_Range=f"bytes 0-4/{len(content)}")
    handler.wfile.write(content[:5])


def unsatisfiable(handler: Any, content: bytes) -> None:
    head(handler, 416, 0)


def longer(handler: Any, content: bytes) -> None:
    """It lies about the length in its head."""
    head(handler, 200, len(content) + 1)
    handler.wfile.write(content)


def endless(handler: Any, content: bytes) -> None:
    """It says no length, and does not stop."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(40):
            handler.wfile.write(content)
    except OSError:  # the reader has had enough
        pass


def silent(handler: Any, content: bytes) -> None:
    """It stalls in the middle."""
    half(handler, content)
    handler.wfile.flush()
    time.sleep(1.5)


def slow(handler: Any, content: bytes) -> None:
    head(handler, 200, len(content))
    for start in range(0, len(content), 100_000):
        handler.wfile.write(content[start : start + 100_000])
        handler.wfile.flush()
        time.sleep(0.1)


def missing(handler: Any, content: bytes) -> None:
    handler.send_error(404)


def ill(handler: Any, content: bytes) -> None:
    handler.send_error(500)


def redirected(location: str) -> Answer:
    """A redirect; a path is one of the same server."""

    def answer(handler: Any, content: bytes) -> None:
        head(handler, 302, 0, Location=location)

    return answer
