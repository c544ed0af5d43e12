"""A template and its values -> one HTML file that stands alone: no network, no script, written whole."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nlptl.errors import RunFailed, UsageError


def require_report_packages() -> None:
    """Raises UsageError where a report could not be made, before anything is computed for it."""
    absent = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if absent:
        raise UsageError(
            f"the report needs {' and '.join(absent)}", remedy='install with: pip install "nlptl[report]"'
        )


def write_page(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Fills a template of this folder, in which every value is escaped, and replaces `path` by it.

    Args:
        path: the HTML file; replaced whole, or left as it was.
        template: a file that extends `page.html`.
        values: what the template names, and what `page.html` does: `title`, and `details`, names with texts
            that say how the page came about (the text of `command` is set as code).

    Raises:
        UsageError: the packages of the `report` extra are absent.
        RunFailed: the file cannot be written.
    """
    require_report_packages()
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("nlptl", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["figure"] = _figure
    page = pages.get_template(template).render(values)
    # A lone surrogate, which JSON data may hold, has no UTF-8: it becomes a question mark.
    _write_whole(Path(path), page.encode("utf-8", "replace"))


def _figure(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RunFailed(
            f"the report cannot be written ({error.strerror})", f"to {path}", "check the folder and the disk"
        ) from error
