"""`nlptl extract-features`: vectors of texts or tokens by a frozen model, in a file that says what made them."""

from __future__ import annotations

import hashlib
import inspect
import time
from pathlib import Path
from typing import Any

from nlptl import processes
from nlptl.commands.features.files import (
    FeatureRow,
    check_feature_file,
    check_room,
    feature_file,
    file_bytes,
    size_in_words,
)
from nlptl.commands.features.rows import Census, FeatureRows, Row
from nlptl.commands.features.tokens import TextReader, text_tokens
from nlptl.commands.features.vectors import Extractor, Features, chosen_layers, layer_widths
from nlptl.commands.invocation import Invocation
from nlptl.config import ExtractConfig
from nlptl.errors import ConfigError, ModelError, UsageError
from nlptl.pretrained.models import ModelFolder, find_model
from nlptl.training.precision import Precision, inference_precision, resolve_device, settle
from nlptl.training.progress import Reporter
from nlptl.version import __version__

HDF5 = (".hdf5", ".h5")


def extract_features(config: ExtractConfig, invocation: Invocation) -> dict[str, Any]:
    """Write the vectors of every row, in order, and report how many and how fast."""
    _check_options(config, dry_run=invocation.dry_run)
    # What a dry run without an output would write is forecast as the format without any extra.
    output = config.output or Path("features.parquet")
    assert config.model is not None and config.data is not None
    check_feature_file(output, config.data, config.level, force=invocation.force or invocation.dry_run)
    device = resolve_device(config.device)
    precision = inference_precision(config.precision, device)
    rows = FeatureRows(config)
    rows.check()
    source = find_model(config.model, offline=config.offline, reporter=invocation.reporter)
    _check_model(source, config)
    reader = TextReader(source.load_tokenizer(), config)
    model = source.family.encoder_class.from_pretrained(source.path).eval()
    model.to(device)
    features = _features(config, output, chosen_layers(config.layers, layer_widths(model, reader.tokenizer)))
    settle(model, precision)

    census = None
    if not rows.is_stdin or invocation.dry_run:  # of what comes line by line nothing is known before
        census = _census(rows, invocation.reporter)
    plan = None if census is None else _forecast(features, output, census, reader)
    if plan is not None and config.output is not None:
        size, count = plan["bytes"], plan["rows"]
        processes.first(lambda: check_room(output, size, count, config.level))
    if plan is not None and invocation.dry_run:
        return plan
    for note in (*rows.notes, _expected(features, output, census, plan)):
        invocation.reporter.note(note)

    extractor = Extractor(model, features, precision, config.batch_size, stateful=config.stateful)
    facts = _facts(config, source, precision, reader.max_length)
    began = time.monotonic()
    invocation.reporter.start("extracting", None if census is None else census.rows)
    try:
        with feature_file(output, None if census is None else census.labels, facts) as write:
            for window in extractor.windows(reader.read(rows)):
                vectors = extractor.vectors([encoding for _, encoding in window])
                for (row, _), vector in zip(window, vectors, strict=True):
                    write(FeatureRow(row["row"], row.get("label"), vector, _sentence(row, config)))
                invocation.reporter.advance(window[-1][0]["row"] + 1, f"{reader.tokens:,} tokens")
            if not reader.truncation.rows:
                raise rows.absent()
    finally:
        invocation.reporter.finish()
    for note in reader.notes(config.level):
        invocation.reporter.note(note)
    seconds = time.monotonic() - began
    count = reader.truncation.rows
    return {
        "output": str(output),
        "rows": count,
        "width": features.width,
        "layers": list(features.widths),
        "level": config.level,
        "seconds": round(seconds, 2),
        "rows_per_second": round(count / max(seconds, 1e-9), 1),
        "tokens_per_second": round(reader.tokens / max(seconds, 1e-9), 1),
        "bytes": processes.first(lambda: output.stat().st_size),
    }


def _check_options(config: ExtractConfig, *, dry_run: bool) -> None:
    """What the options say of each other.

    Raises:
        UsageError: one is missing.
        ConfigError: two do not go together.
    """
    needed: dict[str, tuple[object, str]] = {
        "--model": (config.model, "runs/lm"),
        "--data": (config.data, "texts.csv"),
    }
    if not dry_run:
        needed["--output"] = (config.output, "features.parquet")
    for option, (value, example) in needed.items():
        if value is None:
            raise UsageError(
                f"{option} is missing", "nlptl extract-features", f"for example {option} {example}"
            )
    if config.level == "token" and "pooling" in config.model_fields_set:
        raise ConfigError(
            "the vectors of tokens are not pooled",
            f"--level token with --pooling {config.pooling}",
            "leave one of them out",
        )
    if config.data == "-" and (config.text_column or config.text_pair_column or config.label_column):
        raise ConfigError("standard input is a text a line, without columns", "--data -", "name no column")
    if config.stateful and config.batch_size is None:
        raise ConfigError(
            "the state goes from batch to batch, and a batch has no size",
            "--stateful",
            "give --batch-size: 1 for one text after the other",
        )


def _check_model(source: ModelFolder, config: ExtractConfig) -> None:
    """What is known of the model before its weights are read.

    Raises:
        ModelError: it has no tokenizer.
        ConfigError: a state is to be carried, and it has none.
    """
    if not source.has_tokenizer:
        raise ModelError(
            "a model without a tokenizer", str(config.model), "import it again with its vocabulary"
        )
    if config.stateful and "state" not in inspect.signature(source.family.encoder_class.forward).parameters:
        raise ConfigError(
            f"a model of the family {source.family.name} has no state to carry",
            f"--stateful with {config.model}",
            "leave --stateful out",
        )


def _features(config: ExtractConfig, output: Path, layers: dict[int, int]) -> Features:
    """The vectors wanted, in the shape that the output holds.

    Raises:
        ConfigError: layers of different widths in HDF5, which has them one above the other.
    """
    mixed = config.layers == "mix"
    stacked = config.level == "token" and output.suffix in HDF5 and len(layers) > 1 and not mixed
    if stacked and len(set(layers.values())) > 1:
        raise ConfigError(
            f"the layers chosen have different widths ({', '.join(map(str, layers.values()))})",
            "--layers",
            "choose layers of equal width, or write .parquet or .safetensors",
        )
    return Features(layers, config.level, config.pooling, mixed, stacked)


def _census(rows: FeatureRows, reporter: Reporter) -> Census:
    reporter.start("counting rows", None)
    try:
        census = rows.census(lambda seen: reporter.advance(seen, f"{seen:,} rows"))
    finally:
        reporter.finish()
    if not census.rows:
        raise rows.absent()
    return census


def _forecast(features: Features, output: Path, census: Census, reader: TextReader) -> dict[str, Any]:
    """The plan of a run: tokens are counted on a sample, and scaled up."""
    encoded = reader.encode(census.sample)
    tokens = census.scaled(sum(map(text_tokens, encoded.encodings)))
    vectors = census.rows if features.level == "text" else tokens
    return {
        "command": "extract-features",
        "rows": census.rows,
        "tokens": tokens,
        "layers": list(features.widths),
        "width": features.width,
        "bytes": file_bytes(output.suffix, census.rows, vectors, features.width),
    }


def _expected(features: Features, output: Path, census: Census | None, plan: dict[str, Any] | None) -> str:
    """The forecast in a sentence."""
    if census is None or plan is None:
        each = size_in_words(file_bytes(output.suffix, 1, 1, features.width))
        return f"rows as they come, {features.width:,} wide: {each} a {features.level} in {output}"
    about = "about " if census.is_sampled else ""
    return (
        f"{plan['rows']:,} rows, {about}{plan['tokens']:,} tokens, {features.width:,} wide: "
        f"about {size_in_words(plan['bytes'])} in {output}"
    )


def _facts(
    config: ExtractConfig, source: ModelFolder, precision: Precision, max_length: int | None
) -> dict[str, str]:
    """Everything that the vectors depend on, apart from the texts."""
    with open(source.path / "model.safetensors", "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": str(config.model),
        "model_sha256": sha256,
        "family": source.family.name,
        "level": config.level,
        "layers": config.layers,
        "pooling": config.pooling if config.level == "text" else "none",
        "precision": precision,
        "pretokenized": str(config.pretokenized).lower(),
        "max_length": "none" if max_length is None else str(max_length),
        "stateful": str(config.stateful).lower(),
        **({"batch_size": str(config.batch_size)} if config.stateful else {}),
        "nlptl_version": __version__,
    }


def _sentence(row: Row, config: ExtractConfig) -> str | None:
    """What AllenNLP's readers look a row of token vectors up by: the line that it was, without blanks around it."""
    if config.level == "text" or config.output is None or config.output.suffix not in HDF5:
        return None
    return " ".join(text for text in (row["text"].strip(), (row.get("text_pair") or "").strip()) if text)
