"""JSON files of rows: one array of objects, or one object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nlptl.data.streams import open_text
from nlptl.errors import DataError

Rows = Callable[[Sequence[str]], Iterator[list[Any]]]


def read_json_rows(path: Path) -> tuple[list[str], list[str], Rows]:
    """The keys of all rows, those that hold strings only, and a reader of the wanted ones (None if absent).

    A file of lines is read twice and never held: first for its keys, which any line may add to.

    Raises:
        DataError: not UTF-8, or broken JSON, or a row that is no object, named by its line.
    """
    with open_text(path) as text:
        first = ""
        while not first and (block := text.read(4096)):
            first = block.lstrip()[:1]
    if not first:
        raise DataError("the file is empty", f"in {path}", "it needs at least one row")
    if first == "[":
        held = _array(path)

        def objects() -> Iterator[dict[str, Any]]:
            return iter(held)
    else:

        def objects() -> Iterator[dict[str, Any]]:
            return _lines(path)

    names: dict[str, bool] = {}  # key -> whether its values are strings
    for row in objects():
        for name, value in row.items():
            names[name] = names.get(name, True) and (value is None or isinstance(value, str))

    def rows(wanted: Sequence[str]) -> Iterator[list[Any]]:
        for row in objects():
            yield [row.get(name) for name in wanted]

    return list(names), [name for name, is_text in names.items() if is_text], rows


def _array(path: Path) -> list[dict[str, Any]]:
    with open_text(path) as text:
        content = text.read()
    rows = _parsed(content, path, None)
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"item {index} of the array is no object", f"in {path}")
    return list(rows)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open_text(path) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                row = _parsed(line, path, number)
                if not isinstance(row, dict):
                    raise DataError(
                        f"line {number} is no JSON object",
                        f"in {path}",
                        "write one object a line, or one array of objects",
                    )
                yield row


class _Twice(Exception):
    """One object has two values of one key, of which JSON would keep the last."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _parsed(content: str, path: Path, line: int | None) -> Any:
    try:
        parsed = json.loads(content)
        # To look at every pair takes several times as long, so it is done where a name does not stand there once.
        if not isinstance(parsed, dict) or any(content.count(f'"{name}"') != 1 for name in parsed):
            json.loads(content, object_pairs_hook=_object)
        if "\\u" in content:
            # An escape can name half of a surrogate pair, which is no character and cannot be stored.
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
        return parsed
    except _Twice as error:
        cause = f"gives the key {str(error)!r} twice"
    except UnicodeEncodeError:
        cause = "holds half a character (a lone \\ud800-\\udfff escape)"
    except json.JSONDecodeError as error:
        line = line or error.lineno
        cause = f"is broken JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:
        cause = f"is no usable JSON ({type(error).__name__})"
    where = "the file" if line is None else f"line {line}"
    raise DataError(f"{where} {cause}", f"in {path}", "mend it, or write one object a line")
