"""`nlptl extract-features`: vectors of texts or tokens by a frozen model, in a file that says what made them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlptl.commands.feature_files import SUFFIXES, FeatureRow, feature_file
from nlptl.commands.invocation import Invocation
from nlptl.commands.run_folder import check_output_file
from nlptl.config import ExtractConfig
from nlptl.data.datasets import Columns, load_rows
from nlptl.data.encoding import encode_rows
from nlptl.data.lines import stdin_rows
from nlptl.errors import ConfigError, ModelError, UsageError
from nlptl.nn.pooling import pool
from nlptl.pretrained.models import ModelFolder, find_model
from nlptl.training.batching import Encoding, padded
from nlptl.training.inference import ROWS_A_BATCH, length_batches
from nlptl.training.precision import Precision, autocast, inference_precision, resolve_device

ROWS_AT_A_TIME = 512


def extract_features(config: ExtractConfig, invocation: Invocation) -> dict[str, Any]:
    """Write the vectors of every row, in order, and report how many and how fast."""
    output = _checked(config)
    check_output_file(output, config.data or "-", force=invocation.force or invocation.dry_run)
    assert config.model is not None and config.data is not None
    columns = Columns(config.text_column, config.text_pair_column, config.label_column)
    if config.data == "-":
        rows: Sequence[Mapping[str, Any]] = list(stdin_rows())
        notes: list[str] = []
    else:
        rows, notes = load_rows(config.data, columns=columns, labels="optional", offline=config.offline)
    source = find_model(config.model, offline=config.offline)
    if not source.has_tokenizer:
        raise ModelError("a model without a tokenizer", config.model, "import it again with its vocabulary")
    tokenizer = source.load_tokenizer()
    device = resolve_device(config.device)
    precision = inference_precision(config.precision, device)
    model = source.family.encoder_class.from_pretrained(source.path).eval()
    model.to(device)
    layers = _layers(config, _widths(model, tokenizer))
    width = sum(layers.values()) if config.layers != "mix" else next(iter(layers.values()))
    if config.level == "token" and output.suffix in (".hdf5", ".h5") and len(set(layers.values())) > 1:
        raise ConfigError(
            f"the layers chosen have different widths ({', '.join(map(str, layers.values()))})",
            "--layers",
            "choose layers of equal width, or write .parquet or .safetensors",
        )
    if config.level == "text" and config.pooling == "concat":
        width *= 3
    if invocation.dry_run:
        return _forecast(config, rows, tokenizer, layers, width)
    for note in notes:
        invocation.reporter.note(note)

    facts = {
        "model": config.model,
        "model_sha256": _sha256(source),
        "family": source.family.name,
        "level": config.level,
        "layers": config.layers,
        "pooling": config.pooling if config.level == "text" else "none",
        "precision": precision,
    }
    began, tokens = time.monotonic(), 0
    invocation.reporter.start("extracting", len(rows))
    labels = None
    if isinstance(rows, Dataset) and "label" in rows.column_names:
        labels = rows.features.arrow_schema.field("label").type
    with feature_file(output, len(rows), labels, facts) as write:
        for first in range(0, len(rows), ROWS_AT_A_TIME):
            part = [rows[number] for number in range(first, min(first + ROWS_AT_A_TIME, len(rows)))]
            encoded = encode_rows(
                _words(part) if config.pretokenized else part,
                tokenizer,
                config.max_length,
                return_special_tokens_mask=True,
                **({"is_split_into_words": True} if config.pretokenized else {}),
            )
            cut = encoded.note("texts")
            if cut:
                invocation.reporter.note(cut)
            vectors = _vectors(model, encoded.encodings, config, list(layers), precision)
            for row, vector in zip(part, vectors, strict=True):
                write(FeatureRow(row["row"], row.get("label"), vector))
            tokens += encoded.tokens - encoded.truncated_tokens
            invocation.reporter.advance(first + len(part), f"{tokens:,} tokens")
    invocation.reporter.finish()
    seconds = time.monotonic() - began
    return {
        "output": str(output),
        "rows": len(rows),
        "width": width,
        "layers": list(layers),
        "level": config.level,
        "seconds": round(seconds, 2),
        "rows_per_second": round(len(rows) / max(seconds, 1e-9), 1),
        "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
        "bytes": output.stat().st_size,
    }


def _checked(config: ExtractConfig) -> Path:
    for value, option in ((config.model, "--model"), (config.data, "--data"), (config.output, "--output")):
        if value is None:
            example = {"--model": "runs/lm", "--data": "texts.csv", "--output": "features.parquet"}[option]
            raise UsageError(
                f"{option} is missing", "nlptl extract-features", f"for example {option} {example}"
            )
    output = config.output
    assert output is not None
    if output.suffix not in SUFFIXES:
        raise UsageError(
            f"no format is known by the suffix {output.suffix!r}",
            str(output),
            f"use one of {', '.join(SUFFIXES)}",
        )
    if output.suffix == ".npy" and config.level == "token":
        raise UsageError(
            ".npy holds one row a text and cannot hold token vectors",
            "--level token",
            "write .parquet, .safetensors or .hdf5",
        )
    return output


def _widths(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The width of every layer that `--layers` can name, 0 being the embedding."""
    batch = tokenizer(["a"], return_tensors="pt").to(model.device)
    with torch.inference_mode():
        states = model(batch["input_ids"], batch["attention_mask"], output_hidden_states=True).hidden_states
    return [state.shape[-1] for state in states]


def _layers(config: ExtractConfig, widths: Sequence[int]) -> dict[int, int]:
    """The layers chosen, with their widths.

    Raises:
        ConfigError: there is no such layer, or layers of different widths are to be mixed.
    """
    last = len(widths) - 1
    match config.layers:
        case "last":
            chosen = [last]
        case "all" | "mix":
            chosen = list(range(len(widths)))
        case names:
            chosen = [int(name) for name in names.split(",")]
    absent = [str(layer) for layer in chosen if layer > last]
    if absent:
        raise ConfigError(f"no layer {', '.join(absent)}", "--layers", f"the model has layers 0 to {last}")
    layers = {layer: widths[layer] for layer in chosen}
    if config.layers == "mix" and len(set(layers.values())) > 1:
        said = ", ".join(map(str, widths))
        raise ConfigError(
            f"layers of different widths ({said}) cannot be mixed", "--layers mix", "use --layers last"
        )
    return layers


@torch.inference_mode()
def _vectors(
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    config: ExtractConfig,
    layers: Sequence[int],
    precision: Precision,
) -> list[NDArray[np.float32]]:
    """One array a row: (width,) of a text; (tokens, width) of its tokens, or (layers, tokens, width) for hdf5."""
    vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(encodings)
    for rows in length_batches(encodings, config.batch_size or ROWS_A_BATCH):
        batch = padded([encodings[row] for row in rows], model.config.pad_token_id or 0)
        batch = {key: value.to(model.device) for key, value in batch.items()}
        with autocast(model.device, precision):
            states = model(
                batch["input_ids"], batch["attention_mask"], use_cache=False, output_hidden_states=True
            ).hidden_states
        chosen = [states[layer].float() for layer in layers]
        if config.layers == "mix":
            chosen = [torch.stack(chosen).mean(dim=0)]
        of_text = batch["attention_mask"].bool() & (batch["special_tokens_mask"] == 0)
        if config.level == "text":
            pooled = (
                torch.cat([pool(state, of_text, config.pooling) for state in chosen], dim=1).cpu().numpy()
            )
            for row, vector in zip(rows, pooled, strict=True):
                vectors[row] = vector
            continue
        for place, row in enumerate(rows):
            vectors[row] = _of_tokens([state[place][of_text[place]] for state in chosen], config)
    return vectors


def _of_tokens(states: Sequence[Tensor], config: ExtractConfig) -> NDArray[np.float32]:
    assert config.output is not None
    if config.output.suffix in (".hdf5", ".h5") and len(states) > 1:
        return torch.stack(list(states)).cpu().numpy()
    return torch.cat(list(states), dim=1).cpu().numpy()


def _words(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Texts, and second texts, as lists of words, split on white space and nowhere else."""
    for row in rows:
        texts = {name: (row[name] or "").split() for name in ("text", "text_pair") if name in row}
        yield {**row, **texts}


def _forecast(
    config: ExtractConfig,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    layers: Mapping[int, int],
    width: int,
) -> dict[str, Any]:
    sample = [rows[number] for number in range(min(len(rows), 1000))]
    tokens = encode_rows(sample, tokenizer, config.max_length).tokens * len(rows) / max(1, len(sample))
    vectors = len(rows) if config.level == "text" else tokens
    return {
        "command": "extract-features",
        "rows": len(rows),
        "tokens": int(tokens),
        "layers": list(layers),
        "width": width,
        "bytes": int(4 * vectors * width),
    }


def _sha256(source: ModelFolder) -> str:
    with open(source.path / "model.safetensors", "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
