"""The models that have a name, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def list_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A line a model."""
    rows = [("name", "family", "size", "here", "licence")]
    for model in report["models"]:
        here = "ships" if model["ships"] else "downloaded" if model["downloaded"] else "no"
        licence = model["licence"].partition(";")[0]
        rows.append((model["name"], model["family"], _length(model), here, licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def show_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A line a fact, and below them the files."""
    for key in ("name", "family", "architecture", "licence", "companion", "page", "card"):
        if key in report:
            yield f"{key}: {report[key]}"
    yield f"size: {_length(report)}"
    yield f"path: {report['path'] or 'not downloaded'}"
    for file in report.get("files", ()):
        exact, bound = file["bytes"], file["bytes_at_most"]
        length = f"{exact:,} bytes" if exact is not None else f"at most {bound:,} bytes"
        known = file["hash"]
        proof = "no published hash" if known is None else f"{known['kind']} {known['value']}"
        yield f"file: {file['name']}, {length}, {proof}"
        yield from (f"  {address}" for address in file["addresses"])


def _length(model: Mapping[str, Any]) -> str:
    """Its size, or the bound on it."""
    return size(model["bytes"]) if model["bytes"] is not None else f"≤ {size(model['bytes_at_most'])}"


def size(count: int) -> str:
    """Bytes for people: `105 MB`."""
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
