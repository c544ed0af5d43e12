"""Typer's command, changed in two ways: one option may take several words, and help has sections without a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from nlptl.errors import UsageError

SEVERAL_VALUES = ("text", "validation_text", "lm_text", "words_of")


class Command(TyperCommand):
    """A command whose `--text` takes all words up to the next option, for a shell writes a glob out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        several = {name for option in self.params if option.name in SEVERAL_VALUES for name in option.opts}
        return super().parse_args(ctx, _repeated(args, several))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Help in sections: arguments, the command's own options, the common ones."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            title = (
                getattr(parameter, "rich_help_panel", None) or f"{parameter.param_type_name.capitalize()}s"
            )
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _repeated(words: Sequence[str], several: set[str]) -> list[str]:
    """`--text a b` as `--text a --text b`."""
    repeated: list[str] = []
    option, before = None, ""
    for word in words:
        if word.startswith("-"):
            option = word if word in several else None
        elif option is not None and before != option:
            if word.endswith((".yaml", ".yml")):
                raise UsageError(f"{word!r} is among the texts", option, "a config stands before all options")
            repeated.append(option)
        repeated.append(word)
        before = word
    return repeated
