"""Data sets of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import datasets
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from nlptl.data.tables import CHUNK_ROWS, Chunk, RawTable
from nlptl.errors import DataError


def is_reader_name(source: str) -> bool:
    """Whether the library would read whatever lies in the current folder, pickles included, at this word."""
    return source.partition(":")[0] in _PACKAGED_DATASETS_MODULES


def open_hub(source: str, offline: bool, near: str | None = None) -> dict[str, RawTable]:
    """The splits of the data set `name[:config]` by their own names; code of the repository never runs.

    Args:
        source: the data set.
        offline: take it from the local cache or not at all.
        near: what to say of files of a similar name if it cannot be had.

    Raises:
        DataError: the data set cannot be had, or needs a config.
    """
    name, _, config = source.partition(":")
    try:
        with _no_network(offline):
            loaded = datasets.load_dataset(name, config or None)
    except Exception as error:  # the library, the network and the repository each raise their own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        place = "in the local cache" if offline else "on the Hub"
        remedy = near or (
            "run once without --offline, or name a file"
            if offline
            else "check the name and the network, give its config as name:config, or name a file"
        )
        raise DataError(
            f"{source!r} is no file or folder here and no data set to be had ({lines[0].rstrip('.')[:200]})",
            place,
            remedy,
        ) from error
    return {str(split): dataset_table(f"{source} ({split})", dataset) for split, dataset in loaded.items()}


@contextmanager
def _no_network(offline: bool) -> Iterator[None]:
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def dataset_table(place: str, dataset: datasets.Dataset) -> RawTable:
    """A data set of `datasets` as a table."""
    class_names = {}
    text_names = []
    for column, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, datasets.ClassLabel):
            class_names[column] = list(inner.names)
        elif isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string"):
            text_names.append(column)

    def chunks(wanted: Sequence[str]) -> Iterator[Chunk]:
        for table in dataset.select_columns(list(wanted)).with_format("arrow").iter(CHUNK_ROWS):
            for batch in table.combine_chunks().to_batches():
                yield {name: batch.column(name) for name in wanted}

    return RawTable(place, list(dataset.column_names), text_names, chunks, class_names)
