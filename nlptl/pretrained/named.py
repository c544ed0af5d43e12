"""A public model by its name: downloaded, converted once, and then a folder in the cache like any other."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlptl.families.base import ImportSettings
from nlptl.pretrained.archives import unpack
from nlptl.pretrained.conversion import Converted, converted
from nlptl.pretrained.downloads import downloads_folder, fetch_files, is_offline, locked, not_here
from nlptl.pretrained.places import download_facts, kept_folder
from nlptl.pretrained.public_models import PublicModel
from nlptl.pretrained.verification import Verified
from nlptl.training.progress import Reporter

# From the least to the most that a verification says.
KINDS = ("first-download", "recorded-sha256", "md5-first-mib", "git-blob-sha1", "sha256")


def local_model(
    model: PublicModel, *, offline: bool, reporter: Reporter, afresh: bool = False
) -> dict[str, Any]:
    """Have a public model in the cache, downloaded and converted if it is not there.

    Args:
        afresh: convert it again, and fetch again what of its files is gone or changed.

    Returns:
        What its download came to, as `prepared` says.

    Raises:
        ModelError: it is not there and `offline` forbids to fetch it, it cannot be fetched, or its files are not what
            they should be.
    """
    facts = None if afresh else download_facts(model)
    if facts is not None:
        return facts
    if is_offline(offline) and not downloads_folder(model).is_dir():
        raise not_here(model)
    with locked(model, reporter):
        facts = None if afresh else download_facts(model)  # another process may have been first
        if facts is not None:
            return facts
        kept = kept_folder(model)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with prepared(model, kept, offline=offline, reporter=reporter) as (ready, facts):
            whole = ready.path.parent
            (whole / "download.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir()
            # The facts last: by them the model is known to be there.
            for name in ("model", "download.json"):
                os.replace(whole / name, kept / name)
    return facts


@contextmanager
def prepared(
    model: PublicModel, output: Path, *, offline: bool, reporter: Reporter
) -> Iterator[tuple[Converted, dict[str, Any]]]:
    """Download a model and convert it beside `output`; `locked` is the caller's.

    Returns:
        The folder that waits to be moved, and `family`, `parameters`, `vocabulary`, `ignored_keys`, `bytes` (that were
        downloaded), `verified` (the weakest kind of its files) and `files`, each with `name`, `bytes`, `sha256` and
        `verified`.
    """
    arrived = fetch_files(model, offline=offline, reporter=reporter)
    with tempfile.TemporaryDirectory(prefix=".nlptl-unpack-", dir=downloads_folder(model)) as scratch:
        files = _files(model, arrived, Path(scratch))
        settings = ImportSettings(backward=model.backward)
        with converted(model.source, files, output, settings) as ready:
            for note in ready.notes:
                reporter.note(note)
            facts = {
                "family": model.family,
                **ready.facts,
                "bytes": sum(each.bytes for each in arrived),
                "verified": min((each.kind for each in arrived), key=KINDS.index),
                "files": [
                    {"name": f.path.name, "bytes": f.bytes, "sha256": f.sha256, "verified": f.kind}
                    for f in arrived
                ],
            }
            yield ready, facts


def _files(model: PublicModel, arrived: Sequence[Verified], scratch: Path) -> dict[str, Path]:
    """The files of the checkpoint by their options, those of a native folder by their names."""
    found: dict[str, Path] = {}
    for file, here in zip(model.files, arrived, strict=True):
        if file.members:
            found |= unpack(here.path, file.members, scratch)
        elif file.option == "directory":
            found["directory"] = here.path.parent
        else:
            found[file.option or file.name] = here.path
    return found
