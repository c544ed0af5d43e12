"""A run's config: what is wrong is said at once and in place, what is right survives a round trip."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nlptl.config import (
    COMMANDS,
    FinetuneConfig,
    LmTuningConfig,
    OptimizerConfig,
    PretrainConfig,
    RunConfig,
    dump,
    json_schema,
    load_config,
    validated,
    with_recipe,
)
from nlptl.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# A file's name begins with what it is for.
SCHEMAS: dict[str, type[RunConfig]] = {
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "freeze": FinetuneConfig,
    "mini": PretrainConfig,
}


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def test_all_mistakes_are_listed_at_once_each_with_its_place(yaml_file: Path) -> None:
    yaml_file.write_text(
        "epoch: 3\n"
        "seed: -1\n"
        "schedule: triangular\n"
        "optimizer:\n  weight_dcay: 0.1\n"
        "lm:\n  optimizer:\n    betas: [0.9, 2.0]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(FinetuneConfig, yaml_file)
    error = caught.value
    assert error.cause.startswith("5 mistakes: ")
    assert "unknown key 'epoch' (did you mean 'epochs'?)" in error.cause
    assert "seed: input should be greater than or equal to 0 (it is -1)" in error.cause
    assert "schedule: input should be 'slanted-triangular'" in error.cause
    assert "unknown key 'optimizer.weight_dcay' (did you mean 'weight_decay'?)" in error.cause
    assert "lm.optimizer.betas.1: input should be less than or equal to 1 (it is 2.0)" in error.cause
    assert error.where == str(yaml_file)
    assert error.remedy is not None
    assert "nlptl finetune --help" in error.remedy
    assert error.exit_code == 2


def test_of_very_many_mistakes_the_first_are_shown_and_no_value_is_shown_whole() -> None:
    with pytest.raises(ConfigError) as caught:
        validated(FinetuneConfig, {"seed": {"a" * 300: "x" * 300, "b" * 300: ["y" * 300]}})
    assert len(caught.value.cause) < 400
    with pytest.raises(ConfigError) as caught:
        validated(FinetuneConfig, {f"unheard of {number}": 1 for number in range(500)})
    assert caught.value.cause.startswith("500 mistakes: unknown key 'unheard of 0'")
    assert re.search(r"; and 4\d\d more$", caught.value.cause)
    assert len(str(caught.value)) < 2000


def test_one_mistake_is_not_counted(yaml_file: Path) -> None:
    yaml_file.write_text("learnign_rate: 0.1\n")
    with pytest.raises(
        ConfigError, match=r"^unknown key 'learnign_rate' \(did you mean 'learning_rate'\?\), "
    ):
        load_config(PretrainConfig, yaml_file)


def test_a_key_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        validated(FinetuneConfig, {"zzz": 1})
    assert caught.value.cause == "unknown key 'zzz'"


def test_a_key_of_another_command_is_unknown() -> None:
    with pytest.raises(ConfigError, match="unknown key 'bptt'"):
        validated(FinetuneConfig, {"bptt": 70})
    assert validated(PretrainConfig, {"bptt": 70}).bptt == 70


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("batch_size", 1.5),
        ("epochs", 0),
        ("seed", 2**32),
        ("validation_fraction", 1.0),
        ("discriminative_decay", 0.5),
        ("device", "gpu"),
        ("device", "cuda:x"),
        ("precision", "fp64"),
        ("head", "svm"),
        ("optimizer", {"betas": [0.9]}),
    ],
)
def test_a_value_out_of_range_names_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}\b.*\(it is "):
        validated(FinetuneConfig, {key: value})


def test_assignments_override_options_and_options_override_the_file(yaml_file: Path) -> None:
    yaml_file.write_text("seed: 1\nepochs: 1\nbatch_size: 1\n")
    options = {"seed": 2, "epochs": 2, "batch_size": None}
    config = load_config(FinetuneConfig, yaml_file, options, ["seed=3"])
    assert (config.seed, config.epochs, config.batch_size) == (3, 2, 1)


def test_without_a_file_the_defaults_stand() -> None:
    assert load_config(FinetuneConfig) == FinetuneConfig()


def test_a_dotted_assignment_changes_one_key_of_a_section(yaml_file: Path) -> None:
    yaml_file.write_text("optimizer:\n  weight_decay: 0.1\n  gradient_clip: 2\n")
    config = load_config(
        FinetuneConfig, yaml_file, None, ["optimizer.weight_decay=0.5", "lm.optimizer.betas=[0.7, 0.99]"]
    )
    assert config.optimizer == OptimizerConfig(weight_decay=0.5, gradient_clip=2.0)
    assert config.lm.optimizer.betas == (0.7, 0.99)


def test_an_assigned_value_is_read_as_yaml_and_a_hyphen_is_an_underscore() -> None:
    assignments = [
        "learning-rate=1e-3",
        "lm-tuning=false",
        "lm_text=[a.txt, b.txt]",
        "epochs=null",
        "output=a=b",
    ]
    config = load_config(FinetuneConfig, None, {"epochs": 3}, assignments)
    assert config.learning_rate == 0.001
    assert config.lm_tuning is False
    assert config.lm_text == ("a.txt", "b.txt")
    assert config.epochs is None
    assert config.output == Path("a=b")


def test_the_last_of_two_assignments_counts() -> None:
    assert load_config(FinetuneConfig, None, None, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("assignment", ["seed", "=3", " =3", ""])
def test_an_assignment_without_key_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match="is not KEY=VALUE"):
        load_config(FinetuneConfig, None, None, [assignment])


def test_an_assignment_below_a_plain_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'seed' holds a value.*--set seed\.x=1"):
        load_config(FinetuneConfig, None, {"seed": 1}, ["seed.x=1"])


def test_an_unknown_assigned_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown key 'optimizer\.weight_decoy' \(did you mean 'weight_decay'\?\)"
    ):
        load_config(FinetuneConfig, None, None, ["optimizer.weight_decoy=1"])


@pytest.mark.parametrize("schema", COMMANDS.values(), ids=COMMANDS)
def test_a_dumped_default_reads_back_equal(schema: type[RunConfig], yaml_file: Path) -> None:
    yaml_file.write_text(dump(schema()), encoding="utf-8")
    assert load_config(schema, yaml_file) == schema()


def test_a_dumped_config_reads_back_equal(yaml_file: Path) -> None:
    config = FinetuneConfig(
        model="ulmfit-mini",
        data="año/データ.csv",
        output=Path("runs/first"),
        label_column="yes",  # a plain `yes` would come back as true
        learning_rate=1e-05,
        gradual_unfreezing=False,
        lm_text=("a.txt", "123"),
        optimizer=OptimizerConfig(betas=(0.8, 0.99), weight_decay=0.0),
        lm=LmTuningConfig(epochs=2, architecture={"weight_drop": 0.5}),
        architecture={"hidden_dropout": 1e-05, "sizes": [400, 50]},
    )
    yaml_file.write_text(dump(config), encoding="utf-8")
    assert load_config(FinetuneConfig, yaml_file) == config


def test_the_recipe_fills_in_what_was_left_open_and_nothing_else() -> None:
    config = FinetuneConfig(
        learning_rate=0.5,
        optimizer=OptimizerConfig(weight_decay=0.0),
        architecture={"dropout": 0.9},
    )
    recipe = {
        "learning_rate": 0.01,
        "epochs": 15,
        "gradual_unfreezing": True,
        "optimizer": {"weight_decay": 0.1, "betas": (0.7, 0.99)},
        "lm": {"epochs": 1, "optimizer": {"gradient_clip": 0.4}},
        "architecture": {"dropout": 0.4, "weight_drop": 0.5},
        "of_another_command": 1,
    }
    filled = with_recipe(config, recipe)
    assert filled.learning_rate == 0.5
    assert filled.epochs == 15
    assert filled.gradual_unfreezing is True
    assert filled.optimizer == OptimizerConfig(weight_decay=0.0, betas=(0.7, 0.99))
    assert filled.lm.epochs == 1
    assert filled.lm.optimizer.gradient_clip == 0.4
    assert filled.architecture == {"dropout": 0.9, "weight_drop": 0.5}
    assert config.epochs is None, "the config that came in is unchanged"
    assert with_recipe(filled, recipe) == filled, "a saved config runs again as it is"


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        FinetuneConfig().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: [1\nepochs: 2\n", r"not valid YAML .*run\.yaml, line 2"),
        (b"seed: 1: 2\n", r"not valid YAML .*run\.yaml, line 1"),
        (b"seed: *unknown\n", r"not valid YAML .*line 1"),
        (b"- seed\n", "a config is a mapping of keys to values"),
        (b"seed", "a config is a mapping of keys to values"),
        (b"data: caf\xe9.csv\n", "not a UTF-8 text file"),
    ],
)
def test_a_file_that_is_no_config_is_refused(content: bytes, message: str, yaml_file: Path) -> None:
    yaml_file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(FinetuneConfig, yaml_file)


def test_a_config_cannot_run_code(yaml_file: Path) -> None:
    target = yaml_file.with_name("written")
    yaml_file.write_text(f"data: !!python/object/apply:os.mkdir [{target}]\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(FinetuneConfig, yaml_file)
    assert not target.exists()


def test_an_absent_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such config file, .*absent\.yaml"):
        load_config(FinetuneConfig, tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="a folder where a config file is due"):
        load_config(FinetuneConfig, tmp_path)


def test_an_empty_file_is_an_empty_config(yaml_file: Path) -> None:
    yaml_file.write_text("# nothing yet\n")
    assert load_config(PretrainConfig, yaml_file) == PretrainConfig()


def test_the_schema_file_is_up_to_date() -> None:
    expected = json_schema()
    assert json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8")) == expected, (
        "write configs/schema.json again from nlptl.config.json_schema()"
    )


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    schema = json_schema()
    references: set[str] = set()

    def collect(node: object) -> None:
        if isinstance(node, dict):
            references.update(value for key, value in node.items() if key == "$ref")
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(schema)
    assert references
    assert references <= {f"#/$defs/{name}" for name in schema["$defs"]}


@pytest.mark.parametrize(
    "file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_config_that_ships_is_valid(file: Path) -> None:
    schema = next((kind for name, kind in SCHEMAS.items() if file.stem.startswith(name)), None)
    assert schema is not None, f"the name of {file.name} begins with none of {', '.join(SCHEMAS)}"
    load_config(schema, file)
