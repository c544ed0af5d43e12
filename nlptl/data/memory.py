"""Texts that are in this process and in no file: given a name, by which they are read like any other source.

The libraries whose objects they are take long to import, and who asks for a file has no need of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nlptl.data.names import IN_MEMORY
from nlptl.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_held: ContextVar[Mapping[str, Mapping[str, Dataset]]] = ContextVar("held", default=MappingProxyType({}))


def is_in_memory(data: object) -> bool:
    """Whether it is texts themselves, and not the name of a source: a data frame or a data set of `datasets`."""
    import pandas
    from datasets import Dataset, DatasetDict

    return isinstance(data, (pandas.DataFrame, Dataset, DatasetDict))


@contextmanager
def holding(data: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Make data in memory readable inside this context, in this thread.

    Args:
        data: by what each is for. A data frame, a `Dataset` or `DatasetDict`, or a list of texts or of rows.

    Returns:
        The name of each as a source.

    Raises:
        DataError: one is none of these, or its values make no column.
    """
    names = {key: f"<{key}{IN_MEMORY}" for key in data}
    token = _held.set(
        {**_held.get(), **{names[key]: _splits(value, names[key]) for key, value in data.items()}}
    )
    try:
        yield names
    finally:
        _held.reset(token)


def held_splits(source: str) -> Mapping[str, Dataset] | None:
    """The splits of a source in memory, by their own names; None where it is none."""
    return _held.get().get(source)


def _splits(data: Any, name: str) -> Mapping[str, Dataset]:
    from datasets import DatasetDict

    if isinstance(data, DatasetDict):
        return {str(key): split for key, split in data.items()}
    return {"train": _dataset(data, name)}


def _dataset(data: Any, name: str) -> Dataset:
    import pandas
    from datasets import Dataset

    if isinstance(data, Dataset):
        return data
    try:
        if isinstance(data, pandas.DataFrame):
            return Dataset.from_pandas(data, preserve_index=False)
        if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
            if all(isinstance(row, Mapping) for row in data) and data:
                return Dataset.from_list([dict(row) for row in data])
            return Dataset.from_dict({"text": list(data)})
    except (TypeError, ValueError, OverflowError) as error:  # Arrow's own errors are among them
        cause = f"its values make no table ({' '.join(str(error).split())[:200]})"
        raise DataError(cause, name, "give each column values of one kind") from None
    raise DataError(
        f"a {type(data).__name__} where texts are due",
        name,
        "give a path, a list of texts or rows, a data frame or a datasets.Dataset",
    )
