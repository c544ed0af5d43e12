"""Class names and the numbers that stand for them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from nlptl.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Label = str | list[str]


def label_names_of(labels: Iterable[Label], named: Sequence[str] | None = None) -> list[str]:
    """The labels that occur: in the order of the source's class names, else by number, else by letter."""
    seen = {name for label in labels for name in as_list(label)}
    if named and seen <= set(named):
        return [name for name in named if name in seen]
    try:
        return sorted(seen, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(seen)


def as_list(label: Label) -> list[str]:
    """One label as a list of one."""
    return [label] if isinstance(label, str) else label


def unknown_labels(labels: Iterable[Label], known: Sequence[str]) -> Counter[str]:
    """How many rows have each label that is not among the known."""
    names = set(known)
    return Counter(name for label in labels for name in as_list(label) if name not in names)


def counted(labels: Counter[str]) -> str:
    """`'pos' (3 rows), 'neg' (1 row)`, the most frequent first."""
    shown = ", ".join(
        f"{name!r} ({count:,} {'row' if count == 1 else 'rows'})" for name, count in labels.most_common(20)
    )
    return shown + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")


def quoted(names: Sequence[str]) -> str:
    """`'neg', 'pos'`, at most twenty of them."""
    return ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def encode_labels(
    dataset: Dataset,
    label_names: Sequence[str],
    *,
    unknown: Literal["error", "skip"] = "error",
    where: str = "in the data",
) -> tuple[Dataset, list[str]]:
    """Adds `label_id`: the label's place in `label_names`, or for lists of labels a vector of 0.0 and 1.0.

    Args:
        dataset: rows with a `label` column without missing values.
        label_names: what the model knows, in the order of its class ids.
        unknown: "skip" leaves rows with a label beyond these out and says how many.
        where: the place for errors and notes, such as `in reviews.csv`.

    Returns:
        The data set with `label_id` (int64, or a list of `len(label_names)` float32), and notes.

    Raises:
        DataError: labels are missing or unknown, or no row is left.
    """
    if "label" not in dataset.column_names:
        raise DataError("there is no label column", where, "name it with --label-column")
    table: pa.Table = dataset.with_format("arrow")[:]
    if missing := table["label"].null_count:
        raise DataError(f"{missing:,} rows have no label", where, "leave them out")
    labels: list[Label] = table["label"].to_pylist()
    notes = []
    if beyond := unknown_labels(labels, label_names):
        if unknown == "error":
            remedy = f"it knows {quoted(label_names)}; leave these rows out with --unknown-labels skip"
            raise DataError(f"labels that the model does not know: {counted(beyond)}", where, remedy)
        known = set(label_names)
        keep = [known.issuperset(as_list(label)) for label in labels]
        left_out = keep.count(False)
        notes.append(
            f"{left_out:,} {'row' if left_out == 1 else 'rows'} {where} "
            f"left out for labels unknown to the model: {counted(beyond)}"
        )
        if not any(keep):
            raise DataError(
                "no row has labels that the model knows", where, f"it knows {quoted(label_names)}"
            )
        table = table.filter(pa.array(keep))
        labels = [label for label, kept in zip(labels, keep, strict=True) if kept]
    if pa.types.is_list(table["label"].type):
        vectors = [[float(name in label) for name in label_names] for label in labels]
        ids = pa.array(vectors, pa.list_(pa.float32()))
    else:
        place = {name: index for index, name in enumerate(label_names)}
        ids = pa.array([place[str(label)] for label in labels], pa.int64())
    # Not add_column, which would copy every text of a selection; nor without a fingerprint, for which
    # `datasets` would pickle them.
    content = json.dumps([dataset._fingerprint, list(label_names), unknown])
    return type(dataset)(
        table.replace_schema_metadata().append_column("label_id", ids),
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
    ), notes
