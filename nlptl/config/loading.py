"""YAML, options and `--set` -> a validated config; a config -> YAML and a JSON schema; mistakes said in place."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nlptl.config.schema import COMMANDS, Section
from nlptl.errors import ConfigError

AnyConfig = TypeVar("AnyConfig", bound=Section)
MOST_VALUES = (
    100_000  # an alias of YAML stands for all that it names, and a few lines of them for billions of values
)
LONGEST_SHOWN = 250  # characters of a wrong value
MOST_SHOWN = 1200  # characters of mistakes, after which they are counted
_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 200


def load_config(
    schema: type[AnyConfig],
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> AnyConfig:
    """Read a run's config; options override the file, and `--set` overrides both.

    Args:
        schema: the command's config class.
        file: a YAML file, or None.
        options: what the command line says; None means not said.
        assignments: `KEY=VALUE` pairs, dotted keys, YAML values.

    Raises:
        ConfigError: with every mistake in it (of very many the first), each with its place.
    """
    values: dict[str, Any] = _read_yaml(file) if file is not None else {}
    values.update({key: value for key, value in (options or {}).items() if value is not None})
    for assignment in assignments:
        _assign(values, assignment)
    overridden = bool(assignments) or any(value is not None for value in (options or {}).values())
    where = None if file is None else f"{file} with the options given" if overridden else str(file)
    return validated(schema, values, where)


def validated(schema: type[AnyConfig], values: Mapping[str, Any], where: str | None = None) -> AnyConfig:
    """Values -> config object.

    Raises:
        ConfigError: listing all mistakes; an unknown key with the nearest known one.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        mistakes = [_described(schema, mistake) for mistake in error.errors()]
        cause = mistakes[0] if len(mistakes) == 1 else f"{len(mistakes)} mistakes: " + _joined(mistakes)
        raise ConfigError(cause, where, "see `nlptl " + getattr(schema, "command", "") + " --help`") from None


def _joined(mistakes: Sequence[str]) -> str:
    shown, length = 0, 0
    while shown < len(mistakes) and length < MOST_SHOWN:
        length += len(mistakes[shown])
        shown += 1
    left = len(mistakes) - shown
    return "; ".join(mistakes[:shown]) + (f"; and {left} more" if left else "")


def with_recipe(config: AnyConfig, recipe: Mapping[str, Any]) -> AnyConfig:
    """The config with everything that was not said and that the recipe knows filled in, section by section."""
    changes: dict[str, Any] = {}
    for key, value in recipe.items():
        if key not in type(config).model_fields:
            continue
        current = getattr(config, key)
        if isinstance(current, Section):
            changes[key] = with_recipe(current, value)
        elif isinstance(current, dict):
            changes[key] = {**value, **current}
        elif current is None or key not in config.model_fields_set:
            changes[key] = value
    return config.model_copy(update=changes)


def dump(config: Section) -> str:
    """The config as YAML that `load_config` reads back to an equal object."""
    values = json.loads(config.model_dump_json(exclude_none=True))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def json_schema() -> dict[str, Any]:
    """A JSON schema for editors: any of the configs that a YAML file may hold."""
    schemas = {
        name: COMMANDS[name].model_json_schema(ref_template="#/$defs/{model}")
        for name in ("pretrain", "finetune", "compare")
    }
    definitions: dict[str, Any] = {}
    for schema in schemas.values():
        definitions.update(schema.pop("$defs", {}))
    definitions.update(schemas)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nlptl run",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in schemas],
        "$defs": definitions,
    }


def nearest(word: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known word is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: `1e-3` is a number, and a key that is given twice is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or a mapping", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = _bounded(yaml.load(file.read_text(encoding="utf-8"), _Loader))
    except FileNotFoundError:
        raise ConfigError("no such config file", str(file), "check the path, or leave it out") from None
    except IsADirectoryError:
        raise ConfigError(
            "a folder where a config file is due", str(file), "name the YAML file in it"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not a UTF-8 text file", str(file), "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", str(file), "check its permissions") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark is not None else str(file)
        said = " ".join(str(getattr(error, "problem", error)).split())
        raise ConfigError(f"not valid YAML ({said})", where, "mend that line") from None
    except RecursionError:
        raise ConfigError("values within values without end", str(file), "write fewer brackets") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("a config is a mapping of keys to values", str(file), "see configs/ for examples")
    return {str(key): value for key, value in values.items()}


def _assign(values: dict[str, Any], assignment: str) -> None:
    key, sign, text = assignment.partition("=")
    if not sign or not key.strip():
        raise ConfigError(
            f"{_shown.repr(assignment)} is not KEY=VALUE",
            "--set",
            "for example --set optimizer.weight_decay=0.01",
        )
    *parents, last = key.strip().replace("-", "_").split(".")
    place = values
    for parent in parents:
        inner = place[parent] = {} if place.get(parent) is None else place[parent]
        if not isinstance(inner, dict):
            where = f"--set {_shown.repr(assignment)[1:-1]}"
            raise ConfigError(f"{_shown.repr(parent)} holds a value, not keys", where, "shorten the key")
        place = inner
    try:
        place[last] = _bounded(yaml.load(text, _Loader))
    except (yaml.YAMLError, ValueError):
        place[last] = text
    except RecursionError:
        raise ConfigError(
            "values within values without end",
            f"--set {_shown.repr(key.strip())[1:-1]}",
            "write fewer brackets",
        ) from None


def _bounded(values: Any) -> Any:
    """`values` as they are.

    Raises:
        ValueError: there are more of them than a config has, those counted again that are named again.
    """
    left, waiting = MOST_VALUES, [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, tuple, set)):
            left -= len(value)
            if left < 0:
                raise ValueError(f"more than {MOST_VALUES:,} values")
            waiting += value.values() if isinstance(value, dict) else value
    return values


def _described(schema: type[BaseModel], mistake: Mapping[str, Any]) -> str:
    path = [str(part) for part in mistake["loc"]]
    place = _shown.repr(".".join(path))  # a key may hold line breaks too
    if mistake["type"] == "extra_forbidden":
        section = _section_at(schema, path[:-1])
        return f"unknown key {place}{nearest(path[-1], list(section.model_fields))}"
    place = place[1:-1]
    if mistake["type"] == "string_pattern_mismatch":  # a person reads words, not the pattern
        described = (_section_at(schema, path[:-1]).model_fields[path[-1]].description or "").rstrip(".")
        return f"{place}: input should be one of {described} (it is {_short(mistake['input'])})"
    message = mistake["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not place:
        return str(message)
    return f"{place}: {message} (it is {_short(mistake['input'])})"


def _short(value: Any) -> str:
    """A value for people: the beginning of one with many parts."""
    said = _shown.repr(value)
    return said if len(said) <= LONGEST_SHOWN else said[: LONGEST_SHOWN - 3] + "..."


def _section_at(schema: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    for key in path:
        annotation = schema.model_fields[key].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        schema = next(kind for kind in options if isinstance(kind, type) and issubclass(kind, BaseModel))
    return schema
