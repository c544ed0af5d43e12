"""A frozen encoder and tokenised texts -> the vectors of each text, or of its tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlptl import processes
from nlptl.errors import ConfigError
from nlptl.nn.pooling import Pooling, pool
from nlptl.training.batching import Encoding, padded
from nlptl.training.inference import ROWS_A_BATCH, length_batches
from nlptl.training.precision import Precision, autocast

# Rows that are sorted by length together: the more, the less padding is computed.
WINDOW_ROWS = 4096
WINDOW_TOKENS = 1 << 18
WINDOW_BYTES = 1 << 27

Item = TypeVar("Item")


@dataclass(frozen=True)
class Features:
    """Which vectors of a model make a row.

    Attributes:
        widths: of the layers chosen, by their number; 0 is the embedding.
        mixed: the mean of the layers, not the layers side by side.
        stacked: layers of tokens lie one above the other: (layers, tokens, width).
    """

    widths: Mapping[int, int]
    level: Literal["text", "token"]
    pooling: Pooling
    mixed: bool
    stacked: bool

    @property
    def width(self) -> int:
        """Numbers of a text, or of a token in all its layers."""
        width = next(iter(self.widths.values())) if self.mixed else sum(self.widths.values())
        return 3 * width if self.level == "text" and self.pooling == "concat" else width

    def of(self, hidden_states: Sequence[Tensor], valid: Tensor) -> list[NDArray[np.float32]]:
        """The rows of a batch: (width,) each; of tokens (tokens, width), or (layers, tokens, width) stacked.

        Args:
            hidden_states: by layer, (batch, time, width of the layer).
            valid: (batch, time), True for the tokens of the texts.
        """
        layers = [hidden_states[layer].float() for layer in self.widths]
        if self.mixed:
            layers = [torch.stack(layers).mean(dim=0)]
        if self.level == "text":
            return list(torch.cat([pool(x, valid, self.pooling) for x in layers], dim=1).cpu().numpy())
        tokens = [x[valid] for x in layers]  # (tokens of the batch, width)
        joined = torch.stack(tokens) if self.stacked else torch.cat(tokens, dim=1)
        ends = valid.sum(dim=1).cumsum(dim=0)[:-1].cpu().numpy()
        return np.split(joined.cpu().numpy(), ends, axis=-2)


class Extractor:
    """Runs an encoder over texts; several processes share the batches out, and the leader has the vectors.

    Args:
        batch_size: texts run together at most, or, where the state is carried, always.
        stateful: row k of a batch begins with the state that row k of the batch before ended with, and rows are
            taken strictly in order, as bilm-tf and AllenNLP read them (Peters et al. 2018); without it every text
            begins with a state of zeros.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        features: Features,
        precision: Precision,
        batch_size: int | None,
        *,
        stateful: bool,
    ) -> None:
        self.model, self.features, self.precision = model, features, precision
        self.batch_size, self.stateful = batch_size or ROWS_A_BATCH, stateful
        self.window_rows = self.batch_size if stateful else WINDOW_ROWS
        of_tokens = WINDOW_BYTES // (4 * features.width) if features.level == "token" else WINDOW_TOKENS
        self.window_tokens = None if stateful else min(WINDOW_TOKENS, of_tokens)
        # What need not return its state need not be told where each row ends, which is faster.
        takes = inspect.signature(type(model).forward).parameters
        self._options: dict[str, Any] = {"use_cache": False} if "use_cache" in takes and not stateful else {}
        self._state: Any = None

    def windows(self, rows: Iterable[tuple[Item, Encoding]]) -> Iterator[list[tuple[Item, Encoding]]]:
        """Rows in the pieces that `vectors` is to be given, in order, each of bounded memory."""
        window: list[tuple[Item, Encoding]] = []
        tokens = 0
        for row in rows:
            length = len(row[1]["input_ids"])
            full = self.window_tokens is not None and tokens + length > self.window_tokens
            if window and (full or len(window) == self.window_rows):
                yield window
                window, tokens = [], 0
            window.append(row)
            tokens += length
        if window:
            yield window

    @torch.inference_mode()
    def vectors(self, encodings: Sequence[Encoding]) -> list[NDArray[np.float32]]:
        """One array a text, in order; as `Features.of` shapes it, and empty where this process does not lead."""
        found: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(encodings)
        if self.stateful:  # one batch needs the state of the one before
            return self._carried(encodings) if processes.is_leader() else found

        def of_batch(rows: list[int]) -> list[NDArray[np.float32]]:
            return self._batch([encodings[row] for row in rows])

        for rows, batch in processes.shared_out(length_batches(encodings, self.batch_size), of_batch):
            for row, vectors in zip(rows, batch, strict=True):
                found[row] = vectors
        return found

    def _carried(self, encodings: Sequence[Encoding]) -> list[NDArray[np.float32]]:
        # The state has a row for each text of a full batch: the last batch is filled up, and what fills it left out.
        missing = self.batch_size - len(encodings) if self._state is not None else 0
        return self._batch([*encodings, *[encodings[-1]] * missing])[: len(encodings)]

    def _batch(self, encodings: Sequence[Encoding]) -> list[NDArray[np.float32]]:
        batch = padded(encodings, self.model.config.pad_token_id or 0)
        batch = {key: value.to(self.model.device) for key, value in batch.items()}
        options = {**self._options, **({"state": self._state} if self.stateful else {})}
        with autocast(self.model.device, self.precision):
            output = self.model(
                batch["input_ids"], batch["attention_mask"], output_hidden_states=True, **options
            )
        if self.stateful:
            self._state = output.state
        valid = batch["attention_mask"].bool() & (batch["special_tokens_mask"] == 0)
        return self.features.of(output.hidden_states, valid)


def layer_widths(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The width of every layer that `--layers` can name, 0 being the embedding."""
    batch = tokenizer(["a"], return_tensors="pt").to(model.device)
    with torch.inference_mode():
        states = model(batch["input_ids"], batch["attention_mask"], output_hidden_states=True).hidden_states
    return [state.shape[-1] for state in states]


def chosen_layers(names: str, widths: Sequence[int]) -> dict[int, int]:
    """The layers that `--layers` names, in its order, with their widths.

    Raises:
        ConfigError: there is no such layer, one is named twice, or layers of different widths are to be mixed.
    """
    last = len(widths) - 1
    match names:
        case "last":
            chosen = [last]
        case "all" | "mix":
            chosen = list(range(len(widths)))
        case _:
            chosen = [int(name) for name in names.split(",")]
    absent = [str(layer) for layer in chosen if layer > last]
    if absent:
        has = f"layers 0 to {last}" if last else "layer 0 alone"
        raise ConfigError(f"no layer {', '.join(absent)}", "--layers", f"the model has {has}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError("a layer is named twice", f"--layers {names}", "name each once")
    layers = {layer: widths[layer] for layer in chosen}
    if names == "mix" and len(set(layers.values())) > 1:
        said = ", ".join(map(str, widths))
        raise ConfigError(
            f"layers of different widths ({said}) cannot be mixed", "--layers mix", "use --layers last"
        )
    return layers
