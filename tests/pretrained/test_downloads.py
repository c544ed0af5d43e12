"""Downloads from servers that break, lie, stall and send elsewhere: a right file or one clear line."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from nlptl.errors import ModelError
from nlptl.pretrained.downloads import downloads_folder, fetch_files
from nlptl.pretrained.public_models import PublicModel
from nlptl.pretrained.transfer import BLOCK
from nlptl.pretrained.verification import Verified, digest
from nlptl.training.progress import Reporter
from tests.pretrained import conftest as says
from tests.pretrained.conftest import CONTENT, HALF, Answer, Server

SHA256 = hashlib.sha256(CONTENT).hexdigest()
REST = f"bytes={HALF}-"
BLOCKS = f"bytes={HALF // BLOCK * BLOCK}-"
A, B = "/a/file.bin", "/b/file.bin"


def model(*addresses: str, **values: Any) -> PublicModel:
    """A model of one file."""
    known = {"bytes": len(CONTENT), "hash": {"kind": "sha256", "value": SHA256}}
    file = {"addresses": addresses, "option": "weights", **known, **values}
    words = dict.fromkeys(("architecture", "licence", "page"), "-")
    return PublicModel.model_validate(
        {"name": "m", "family": "elmo", "source": "allennlp", "files": [file], **words}
    )


def fetch(wanted: PublicModel, offline: bool = False) -> Verified:
    (found,) = fetch_files(wanted, offline=offline, reporter=Reporter(True))
    assert found.bytes == found.path.stat().st_size
    return found


@dataclasses.dataclass
class Case:
    """What an address and its mirror answer, what is asked of them, and what is told where no file comes."""

    answers: list[Answer]
    asked: list[tuple[str, str | None]]
    mirror: Answer = says.missing
    told: str | None = None


CASES = {
    "all is well": Case([says.whole], [(A, None)]),
    "it is slow, but it goes on": Case([says.slow], [(A, None)]),
    "the connection closes early": Case([says.half, says.whole], [(A, None), (A, REST)]),
    "it closes early, and there are no ranges": Case(
        [says.half, says.without_ranges], [(A, None), (A, REST)]
    ),
    "the file is replaced in the meantime": Case([says.half_of_an_older, says.whole], [(A, None), (A, REST)]),
    "another piece comes": Case(
        [says.half, says.another_piece, says.whole], [(A, None), (A, REST), (A, None)]
    ),
    "the part does not fit": Case(
        [says.half, says.unsatisfiable, says.whole], [(A, None), (A, REST), (A, None)]
    ),
    "it stalls in the middle, and the mirror has the rest": Case(
        [says.silent, says.ill], [(A, None), (A, BLOCKS), (A, BLOCKS), (B, BLOCKS)], says.whole
    ),
    "a wrong byte, and a good mirror": Case([says.corrupted], [(A, None), (B, None)], says.whole),
    "a wrong byte everywhere": Case(
        [says.corrupted], [(A, None), (B, None)], says.corrupted, f"its sha256 is .* and not {SHA256}"
    ),
    "gone": Case([says.missing], [(A, None), (B, None)], says.whole),
    "gone everywhere": Case([says.missing], [(A, None), (B, None)], told="the server answers 404"),
    "ill": Case([says.ill], [(A, None)] * 3 + [(B, None)], says.whole),
    "ill for a moment": Case([says.ill, says.whole], [(A, None)] * 2),
    "a length that is a lie": Case([says.longer], [(A, None), (B, None)], says.whole),
    "a length that is a lie everywhere": Case(
        [says.longer],
        [(A, None), (B, None)],
        says.longer,
        "offers 512,001 bytes where there should be 512,000",
    ),
    "no length and no end": Case(
        [says.endless], [(A, None), (B, None)], told="sends more than 512,000 bytes"
    ),
    "sent elsewhere": Case([says.redirected("/c")], [(A, None), ("/c", None)]),
    "sent round and round": Case(
        [says.redirected(A)], [(A, None)] * 6 + [(B, None)], told="more than 5 redirects"
    ),
    "sent to a file of this machine": Case(
        [says.redirected("file:///etc/hosts")],
        [(A, None), (B, None)],
        told="no web address, which is refused",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_comes_whole_and_right_or_not_at_all(case: Case, server: Server) -> None:
    server.serve("/c")
    wanted = model(server.serve(A, *case.answers), server.serve(B, case.mirror))
    folder = downloads_folder(wanted)
    if case.told is None:
        found = fetch(wanted)
        assert (found.path.read_bytes() == CONTENT, found.sha256, found.kind) == (True, SHA256, "sha256")
        assert [path.name for path in folder.iterdir()] == ["file.bin"]
        requests = len(server.asked)
        assert fetch(wanted) == found
        assert len(server.asked) == requests, "what is there was fetched again"
    else:
        with pytest.raises(ModelError, match=case.told):
            fetch(wanted)
        assert [path.name for path in folder.glob("*") if not path.name.endswith(".etag")] == []
    assert server.asked == case.asked


class Struck(Reporter):
    """Ctrl-C after the first block."""

    def advance(self, done: int, figures: str, seconds_left: float | None = None) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_download_goes_on_where_it_was(server: Server) -> None:
    wanted = model(server.serve(A))
    with pytest.raises(KeyboardInterrupt):
        fetch_files(wanted, offline=False, reporter=Struck(True))
    part = downloads_folder(wanted) / "file.bin.part"
    there = part.stat().st_size
    assert 0 < there < len(CONTENT)
    assert fetch(wanted).path.read_bytes() == CONTENT
    assert server.asked == [(A, None), (A, f"bytes={there}-")]
    assert not part.exists()


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server) -> None:
    wanted = model(server.serve(A))
    path = fetch(wanted).path
    path.write_bytes(CONTENT[:-1])
    assert fetch(wanted).path.read_bytes() == CONTENT


def test_without_a_published_hash_the_first_download_is_recorded_and_a_later_one_has_to_be_the_same(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = model(server.serve(A), hash=None, bytes=None, bytes_at_most=len(CONTENT))
    (found,) = fetch_files(wanted, offline=False, reporter=Reporter())
    assert (found.kind, found.sha256) == ("first-download", SHA256)
    record = found.path.with_name("file.bin.sha256")
    assert record.read_text(encoding="utf-8") == f"{SHA256}  file.bin\n"  # as sha256sum writes it
    assert "no hash of it is published; its sha256 is kept in" in capsys.readouterr().err

    found.path.unlink()
    assert fetch(wanted).kind == "recorded-sha256"
    found.path.unlink()
    server.serve(A, content=CONTENT[::-1])
    with pytest.raises(ModelError, match=f"not that of the first download.*remove {record}"):
        fetch(wanted)
    assert not found.path.exists()
    record.unlink()
    assert fetch(wanted).path.read_bytes() == CONTENT[::-1]


def test_without_a_hash_of_all_of_it_a_part_of_unknown_version_is_not_gone_on_with(server: Server) -> None:
    wanted = model(server.serve(A), hash=None)
    folder = downloads_folder(wanted)
    folder.mkdir(parents=True)
    (folder / "file.bin.part").write_bytes(bytes(HALF))
    assert fetch(wanted).path.read_bytes() == CONTENT
    assert server.asked == [(A, None)]


@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        ("sha256", b"hello\n", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
        ("md5-first-mib", bytes(1 << 20) + b"whatever", "b6d81b360a5672d80c27430f39153e2c"),
        ("git-blob-sha1", b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ],
)
def test_hashes_are_those_of_their_tools(kind: str, content: bytes, value: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert digest(tmp_path / "file", kind) == value


@pytest.mark.parametrize("good", [True, False])
def test_a_file_of_the_hub_is_verified_too(
    good: bool, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its cache, as huggingface_hub keeps it: a link to a blob."""
    blob, link = tmp_path / "blob", tmp_path / "snapshot"
    asked = []

    def download(repo: str, name: str, revision: str | None) -> str:
        asked.append((repo, name, revision))
        blob.write_bytes(CONTENT if good else CONTENT[1:] + b"!")
        link.symlink_to(blob)
        return str(link)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    wanted = model("hf://owner/name@main/file.bin")
    if good:
        assert fetch(wanted).path.read_bytes() == CONTENT
    else:
        with pytest.raises(ModelError, match="sha256"):
            fetch(wanted)
        assert not blob.exists()
        assert not link.is_symlink()
    assert asked == [("owner/name", "file.bin", "main")]


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("variable", [None, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
def test_offline_opens_no_socket(
    variable: str | None, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(ModelError, match="run once with a network: nlptl models download m"):
        fetch(model("http://127.0.0.1:9/file.bin"), offline=variable is None)
