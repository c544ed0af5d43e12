"""Any config is valid, and survives a round trip, or is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nlptl.config import COMMANDS, RunConfig, dump, load_config
from nlptl.errors import ConfigError
from tests.bad_input.drawing import by_schema, drawn, odd_texts, odd_values
from tests.bad_input.tally import Tally

each_command = pytest.mark.parametrize("schema", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture
def taken(tally: Tally, tmp_path: Path) -> Any:
    """Takes a file or assignments as a command does; what is valid must read back equal."""

    def take(schema: type[RunConfig], content: str, *assignments: str) -> RunConfig | None:
        file = tmp_path / "run.yaml"
        file.write_bytes(content.encode("utf-8", "surrogatepass"))
        config = tally.outcome(lambda: load_config(schema, file, None, assignments))
        if isinstance(config, RunConfig):
            saved = tmp_path / "config.yaml"
            saved.write_text(dump(config), encoding="utf-8")
            assert load_config(schema, saved) == config
            return config
        assert isinstance(config, ConfigError)
        return None

    return take


@each_command
def test_what_the_schema_allows(schema: type[RunConfig], taken: Any, examples: int) -> None:
    described = schema.model_json_schema()

    @drawn(examples)
    @given(by_schema(described, described.get("$defs", {})))
    def check(values: dict[str, Any]) -> None:
        taken(schema, yaml.safe_dump(values, allow_unicode=True))

    check()


@each_command
def test_what_it_does_not_allow(schema: type[RunConfig], taken: Any, examples: int) -> None:
    described = schema.model_json_schema()
    keys = st.sampled_from(list(described["properties"])) | odd_texts()

    @drawn(examples)
    @given(st.dictionaries(keys, odd_values(), max_size=4))
    def check(values: dict[str, Any]) -> None:
        taken(schema, yaml.safe_dump(values, allow_unicode=True))

    check()


def test_any_text_as_a_file(taken: Any, examples: int) -> None:
    signs = st.text(alphabet="abc01 :-[]{},&*!|>%@`'\"#\n\t?~.", max_size=40)

    @drawn(examples)
    @given(odd_texts() | signs)
    def check(content: str) -> None:
        taken(COMMANDS["finetune"], content)

    check()


def test_any_assignment(taken: Any, examples: int) -> None:
    keys = st.sampled_from(["seed", "lm.epochs", "optimizer.betas", "architecture.x", "data", "epochs.x"])

    @drawn(examples)
    @given(keys | odd_texts(), odd_texts() | odd_values().map(yaml.safe_dump))
    def check(key: str, value: str) -> None:
        taken(COMMANDS["finetune"], "", f"{key}={value}")

    check()
