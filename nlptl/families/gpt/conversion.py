"""OpenAI's release of GPT -> our state dict: one long row of numbers in ten files, cut by a list of shapes.

Layout (openai/finetune-transformer-lm, commit a69b5c4): positions, tokens, then for each layer attention (queries, keys
and values in one; projection), normalisation, network (in, out), normalisation; matrices are used as x @ W and have a
leading 1, the width of a convolution.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlptl.errors import ModelError
from nlptl.families.gpt.configuration import GptConfig
from nlptl.families.gpt.modeling import GptForCausalLM
from nlptl.families.gpt.paper_tokenization import (
    UNK,
    GptPaperTokenizer,
    missing_package,
    read_merges,
    read_vocabulary,
)
from nlptl.families.gpt.tokenization import fast_tokenizer

PIECES = 10
HEADS = 12
SHAPES_FILE, VOCABULARY_FILE, MERGES_FILE = "params_shapes.json", "encoder_bpe_40000.json", "vocab_40000.bpe"
MEND = "give the folder of the release as it is"
# In their order, with the width d: the shape of each, the leading 1 left out.
LAYER = {
    "attn.c_attn.weight": (1, 3),
    "attn.c_attn.bias": (3,),
    "attn.c_proj.weight": (1, 1),
    "attn.c_proj.bias": (1,),
    "ln_1.weight": (1,),
    "ln_1.bias": (1,),
    "mlp.c_fc.weight": (1, 4),
    "mlp.c_fc.bias": (4,),
    "mlp.c_proj.weight": (4, 1),
    "mlp.c_proj.bias": (1,),
    "ln_2.weight": (1,),
    "ln_2.bias": (1,),
}


def import_release(directory: Path, output: Path, heads: int | None) -> dict[str, Any]:
    """Write a model folder from the release's folder, and its tokenizer where its vocabulary is there too.

    Args:
        heads: of attention, which the release does not say; 12 by default.

    Returns:
        As `Family.convert`.

    Raises:
        ModelError: a file is absent or damaged, or they do not fit together.
    """
    config, state_dict = convert_weights(directory, HEADS if heads is None else heads)
    model = GptForCausalLM(config)
    model.transformer.load_state_dict(state_dict)
    model.tie_weights()
    notes = [_tokenizer(directory, output, config)]
    model.save_pretrained(output)
    return {
        "parameters": model.num_parameters(),
        "vocabulary": config.vocab_size,
        "ignored_keys": [],
        "notes": notes,
    }


def convert_weights(directory: Path, heads: int) -> tuple[GptConfig, dict[str, Tensor]]:
    """The config that the shapes make, and the tensors of `GptModel`.

    Raises:
        ModelError: as `import_release`.
    """
    shapes = _read_shapes(directory / SHAPES_FILE)
    names = ["positions_embed.weight", "tokens_embed.weight"]
    places, width = shapes[0]
    layers, rest = divmod(len(shapes) - 2, len(LAYER))
    wanted: list[tuple[int, ...]] = [(places, width), (shapes[1][0], width)]
    for number in range(layers):
        names += [f"h.{number}.{name}" for name in LAYER]
        wanted += [_layer_shape(factors, width) for factors in LAYER.values()]
    if rest or layers < 1 or shapes != wanted:
        cause = "the shapes are not those of positions, tokens and whole layers"
        raise ModelError(cause, f"in {directory / SHAPES_FILE}", MEND)
    if heads < 1 or width % heads:
        raise ModelError(
            f"{heads} heads do not divide a width of {width}", f"in {directory}", "give the right --heads"
        )
    numbers = _read_numbers(directory, sum(map(math.prod, shapes)))
    state_dict, start = {}, 0
    for name, shape in zip(names, shapes, strict=True):
        stop = start + math.prod(shape)
        state_dict[name] = torch.from_numpy(numbers[start:stop].reshape(shape).copy())
        start = stop
    config = GptConfig(
        vocab_size=shapes[1][0], n_positions=places, n_embd=width, n_layer=layers, n_head=heads
    )
    return config, state_dict


def _layer_shape(factors: Sequence[int], width: int) -> tuple[int, ...]:
    return tuple(factor * width for factor in factors)


def _read_shapes(path: Path) -> list[tuple[int, ...]]:
    """The shapes without the leading 1 of a matrix."""
    try:
        shapes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"no list of shapes ({type(error).__name__})", f"in {path}", MEND) from error
    sound = isinstance(shapes, list) and all(
        isinstance(shape, list)
        and 1 <= len(shape) <= 3
        and all(type(size) is int and 0 < size < 2**31 for size in shape)
        for shape in shapes
    )
    if not sound or len(shapes) < 2 or [len(shape) for shape in shapes[:2]] != [2, 2]:
        raise ModelError("not a list of shapes of tensors", f"in {path}", MEND)
    return [tuple(shape[1:] if len(shape) == 3 and shape[0] == 1 else shape) for shape in shapes]


def _read_numbers(directory: Path, count: int) -> NDArray[np.float32]:
    """All pieces, one after the other, (count,); how many they hold is known before they are read."""
    paths = [directory / f"params_{number}.npy" for number in range(PIECES)]
    pieces = list(_open_pieces(paths))
    held = sum(len(piece) for piece in pieces)
    if held != count:
        cause = f"{held:,} numbers where the shapes ask for {count:,}"
        raise ModelError(cause, f"in {directory}", MEND)
    numbers = np.concatenate(pieces).astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        raise ModelError("numbers that are not finite", f"in {directory}", "download the release again")
    return numbers


def _open_pieces(paths: Sequence[Path]) -> Iterator[NDArray[Any]]:
    for path in paths:
        try:
            piece = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise ModelError("a piece of the weights is missing", f"no {path}", MEND) from None
        except (OSError, ValueError, EOFError) as error:
            raise ModelError("not a file of numbers", f"in {path}", "download it again") from error
        if not isinstance(piece, np.ndarray) or piece.ndim != 1 or piece.dtype.kind != "f":
            raise ModelError("not one row of numbers", f"in {path}", "download it again")
        yield piece


def _tokenizer(directory: Path, output: Path, config: GptConfig) -> str:
    """Write the tokenizer, and say which one it is."""
    files = [directory / name for name in (VOCABULARY_FILE, MERGES_FILE)]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        return (
            f"no {' and no '.join(absent)} in the folder: the model has no tokenizer and cannot be trained or read "
            "text with"
        )
    vocabulary, merges = read_vocabulary(files[0]), read_merges(files[1])
    if len(vocabulary) != config.vocab_size:
        cause = f"a vocabulary of {len(vocabulary):,} for a model of {config.vocab_size:,} tokens"
        raise ModelError(cause, f"in {files[0]}", MEND)
    if UNK not in vocabulary:
        raise ModelError(f"the vocabulary lacks {UNK}", f"in {files[0]}", MEND)
    stray = next((pair for pair in merges if not {*pair, "".join(pair)} <= vocabulary.keys()), None)
    if stray is not None:
        cause = f"the merge of {stray[0]!r} and {stray[1]!r} is of pieces that the vocabulary lacks"
        raise ModelError(cause, f"in {files[1]}", MEND)
    if (package := missing_package()) is not None:
        fast_tokenizer(vocabulary, merges).save_pretrained(output)
        return (
            f"texts are cut by the fast tokenizer, not quite as the model was trained, because {package} is not "
            "installed: pip install 'nlptl[gpt-tokens]' and import again"
        )
    GptPaperTokenizer(vocabulary, merges).save_pretrained(output)
    return "texts are cut as the model was trained, by ftfy, spaCy and BPE"
