"""One file from one web address, gone on with where a part of it lies there already.

What has come is in `FILE.part`; `FILE.part.etag` says of which version of the file, so that the rest of another version
is not put behind it (`If-Range`, RFC 9110, section 13.1.5).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from nlptl.training.progress import Reporter
from nlptl.version import __version__

TIMEOUT = (10.0, 30.0)  # seconds, to connect and between two pieces of an answer
ATTEMPTS = 3  # without a byte of progress
PAUSE_SECONDS = 1.0
REDIRECTS = 5
BLOCK = 1 << 16  # bytes; less than one is lost where a server stalls


class Failed(Exception):
    """An address that does not give the file; its text says why."""


class Broken(Failed):
    """A connection that broke, or a server that is ill: the same address may give the rest."""


@dataclass(frozen=True)
class Part:
    """A file that is on its way.

    Attributes:
        path: what has come of it.
        bytes: of the whole, where it is known.
        largest: bytes beyond which nothing is read.
        proved: a hash of all of it is known, which finds out a file put together from two versions.
    """

    path: Path
    bytes: int | None
    largest: int
    proved: bool

    @property
    def etag(self) -> Path:
        """Where its version is kept."""
        return self.path.with_name(self.path.name + ".etag")

    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> str | None:
        """What its server called this version of the file."""
        return self.etag.read_text(encoding="utf-8") if self.etag.is_file() else None

    def remove(self) -> None:
        """Begin anew."""
        self.path.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)


def transfer(address: str, part: Part, reporter: Reporter) -> None:
    """Fetch what is missing of a file, with as many connections as it takes while each brings it further.

    An interrupted transfer leaves its part.

    Raises:
        Failed: the address does not give the file; a part that may be gone on with is left there.
    """
    furthest, attempts = part.size(), 0
    while True:
        try:
            return _go_on(address, part, reporter)
        except Broken:
            attempts = 1 if part.size() > furthest else attempts + 1
            furthest = max(furthest, part.size())
            if attempts >= ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS)


def _go_on(address: str, part: Part, reporter: Reporter) -> None:
    start, version = part.size(), part.version()
    if start and ((part.bytes is not None and start > part.bytes) or not (version or part.proved)):
        part.remove()
        start = 0
    if start and start == part.bytes:
        return
    # A file that is itself compressed is not to be unpacked on its way.
    headers = {"Accept-Encoding": "identity", "User-Agent": f"nlptl/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if version:
            headers["If-Range"] = version
    with requests.Session() as session:
        session.max_redirects = REDIRECTS
        try:
            with session.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
                _read(response, address, part, start, reporter)
        except requests.TooManyRedirects:
            raise Failed(f"more than {REDIRECTS} redirects") from None
        except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL):
            raise Failed("it redirects to what is no web address, which is refused") from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise Broken(f"no answer for {TIMEOUT[1]:g} seconds") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Broken(f"no connection, or one that broke ({type(error).__name__})") from None


def _read(response: requests.Response, address: str, part: Part, start: int, reporter: Reporter) -> None:
    """Append an answer to the part, or begin it anew where the server sends all of the file."""
    chain = [answer.url for answer in (*response.history, response)]
    if address.startswith("https:") and not all(url.startswith("https:") for url in chain):
        raise Failed("it redirects to an address that is not encrypted, which is refused")
    status = response.status_code
    if status == 416:  # the part is not of this file, or is longer than it
        part.remove()
        raise Broken("what was there of it did not fit and was removed")
    if status >= 500 or status == 429:
        raise Broken(f"the server answers {status}")
    if status not in (200, 206):
        raise Failed(f"the server answers {status}")
    if status == 200:
        start = 0
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        part.remove()
        raise Broken("the server sends another piece than was asked for")
    length = response.headers.get("Content-Length", "")
    whole = start + int(length) if length.isdigit() else None
    if whole is not None and (whole > part.largest or (part.bytes is not None and whole != part.bytes)):
        expected = f"{part.bytes:,}" if part.bytes is not None else f"at most {part.largest:,}"
        raise Failed(f"the server offers {whole:,} bytes where there should be {expected}")
    version = response.headers.get("ETag", "")
    if start == 0:
        part.remove()
        if version and not version.startswith("W/"):  # a weak one may stand for other bytes
            part.etag.write_text(version, encoding="utf-8")
    _append(response, part, start, whole, reporter)
    if (missing := (part.bytes or whole or 0) - part.size()) > 0:
        raise Broken(f"the connection ended {missing:,} bytes too early")


def _append(
    response: requests.Response, part: Part, start: int, whole: int | None, reporter: Reporter
) -> None:
    total = part.bytes or whole
    began, done = time.monotonic(), start
    reporter.start(
        f"downloading {part.path.name.removesuffix('.part')}", None if total is None else total >> 20
    )
    try:
        with open(part.path, "ab" if start else "wb") as file:
            for block in response.raw.stream(BLOCK, decode_content=False):
                done += len(block)
                if done > part.largest:
                    break
                file.write(block)
                rate = (done - start) / max(time.monotonic() - began, 1e-3)
                left = None if total is None else (total - done) / max(rate, 1.0)
                reporter.advance(done >> 20, f"MiB, {rate / 2**20:,.1f} MiB/s", left)
    finally:
        reporter.finish()
    if done > part.largest:
        part.remove()
        raise Failed(f"the server sends more than {part.largest:,} bytes")
