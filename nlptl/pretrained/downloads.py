"""The files of a public model: fetched once, verified, and kept under the cache folder.

pooch places a file whole or not at all and knows whether the one that lies there is still right; what it lacks, going
on with a part, other kinds of hashes and mirrors, is here and in `transfer`. The Hub's files come by `huggingface_hub`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nlptl.cache import cache_folder
from nlptl.errors import ModelError
from nlptl.pretrained.public_models import PublicFile, PublicModel
from nlptl.pretrained.transfer import Failed, Part, transfer
from nlptl.pretrained.verification import Unfit, Verified, digest, recorded, verify
from nlptl.training.progress import Reporter

HUB = "hf://"
TRUE = ("1", "on", "yes", "true")  # as huggingface_hub reads its variables


def is_offline(asked: bool) -> bool:
    """Whether no connection may be opened: by the option, or by the environment."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return asked or any(os.environ.get(name, "").lower() in TRUE for name in names)


def downloads_folder(model: PublicModel) -> Path:
    """Where a model's files are kept as they came."""
    return cache_folder("downloads") / model.name


@contextmanager
def locked(model: PublicModel, reporter: Reporter) -> Iterator[None]:
    """One process at a time downloads a model."""
    from filelock import FileLock, Timeout

    folder = cache_folder("downloads")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{model.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.note(f"{model.name} is being downloaded by another process; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def fetch_files(model: PublicModel, *, offline: bool, reporter: Reporter) -> list[Verified]:
    """The files of a model, in their order; what is there and right is not fetched again.

    Raises:
        ModelError: a file is not there and `offline` forbids to fetch it, or no address gives it.
    """
    folder = downloads_folder(model)
    found = []
    for file in model.files:
        there = _there(file, folder)
        if there is None and is_offline(offline):
            raise not_here(model)
        found.append(_fetched(model, file, folder, reporter) if there is None else there)
    return found


def not_here(model: PublicModel) -> ModelError:
    """The error of a model that is to be had by a download alone, where that is forbidden."""
    cause = "a public model that has not been downloaded, and --offline or HF_HUB_OFFLINE forbids it"
    return ModelError(cause, model.name, f"run once with a network: nlptl models download {model.name}")


def _record(file: PublicFile, folder: Path) -> Path:
    return folder / f"{file.name}.sha256"


def _known_sha256(file: PublicFile, folder: Path) -> str | None:
    if file.hash is not None and file.hash.kind == "sha256":
        return file.hash.value
    return recorded(_record(file, folder))


def _there(file: PublicFile, folder: Path) -> Verified | None:
    """The file as a former download left it, if it has not changed since."""
    path, known = folder / file.name, _known_sha256(file, folder)
    if known is None or not path.is_file() or digest(path, "sha256") != known:
        return None
    return Verified(
        path, path.stat().st_size, known, "recorded-sha256" if file.hash is None else file.hash.kind
    )


def _fetched(model: PublicModel, file: PublicFile, folder: Path, reporter: Reporter) -> Verified:
    """Fetch a file from the first of its addresses that gives it."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # the reporter says what is going on
    known, record = _known_sha256(file, folder), _record(file, folder)
    failures: list[str] = []
    verified: list[Verified] = []

    def deliver(address: str, output: str, _: Any) -> None:
        """As pooch calls it: the file has been verified before it is handed over."""
        bring = _from_hub if address.startswith(HUB) else _from_web
        arrived = bring(address, file, folder, reporter)
        try:
            verified.append(verify(arrived, file, record))
        except Unfit:
            arrived.resolve().unlink()  # of the Hub's cache, where its name there is a link
            arrived.unlink(missing_ok=True)
            part_of(file, folder).remove()
            raise
        place(arrived, Path(output))

    for address in file.addresses:
        try:
            pooch.retrieve(address, known and f"sha256:{known}", file.name, folder, downloader=deliver)
        except (Failed, Unfit) as failure:
            failures.append(f"{urlsplit(address).netloc.partition('@')[0]}: {failure}")
            reporter.note(f"{file.name} from {failures[-1]}")
            continue
        part_of(file, folder).remove()
        found = dataclasses.replace(verified[0], path=folder / file.name)
        if found.kind in ("first-download", "md5-first-mib"):
            covers = "no hash of it" if file.hash is None else "a hash of its first MiB alone"
            reporter.note(
                f"{file.name}: {covers} is published; its sha256 is kept in {record}, and what is downloaded later "
                "has to be the same"
            )
        return found
    cause = f"{file.name} could not be downloaded ({'; '.join(failures)})"
    remedy = "try again, which goes on where it stopped, or get the files and see nlptl models import --help"
    raise ModelError(cause, model.name, remedy)


def part_of(file: PublicFile, folder: Path) -> Part:
    """Where a file is put together."""
    proved = file.hash is not None and file.hash.kind != "md5-first-mib"
    return Part(folder / f"{file.name}.part", file.bytes, file.largest, proved)


def _from_web(address: str, file: PublicFile, folder: Path, reporter: Reporter) -> Path:
    part = part_of(file, folder)
    transfer(address, part, reporter)
    return part.path


def _from_hub(address: str, file: PublicFile, folder: Path, reporter: Reporter) -> Path:
    """`hf://owner/name@revision/file`, which stays in the cache of `huggingface_hub`."""
    from huggingface_hub import hf_hub_download

    owner, repository, filename = address.removeprefix(HUB).split("/", 2)
    name, _, revision = repository.partition("@")
    reporter.note(f"downloading {file.name} from the Hub ({owner}/{name})")
    try:
        return Path(hf_hub_download(f"{owner}/{name}", filename, revision=revision or None))
    except Exception as error:  # the Hub, its client and two web libraries each have their own
        raise Failed(f"the Hub does not give it ({type(error).__name__})") from None


def place(source: Path, target: Path) -> None:
    """Put a file at another place: moved if it is a part of ours, else linked, or copied where no link is possible."""
    if source.suffix == ".part":
        os.replace(source, target)
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
