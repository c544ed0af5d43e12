"""What a model writes into the gaps of a text, as lines for the eye."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.modeling import TransformerForDenoising
from nlptl.nn.softmax import IGNORED

READ = 48  # tokens of a window that are shown


def shown_reconstructions(
    model: TransformerForDenoising, tokenizer: PreTrainedTokenizerBase, batch: Mapping[str, Tensor]
) -> list[str]:
    """For each text with noise: its beginning with the gaps marked, what stood there, and what the model wrote.

    Args:
        batch: `input_ids`, `attention_mask` (rows, time) and `labels` (rows, time written).
    """
    model.eval()
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    written = model.reconstruct(inputs["input_ids"], inputs["attention_mask"], batch["labels"].shape[1])
    lines = []
    for read, right, wrote in zip(
        batch["input_ids"].tolist(), batch["labels"].tolist(), written, strict=True
    ):
        read = read[:READ]
        right = [token for token in right if token != IGNORED][
            :-1
        ]  # without the end, as what the model wrote
        lines.append(f"reads: {_text(read, tokenizer, model.config)}")
        if model.config.noise == "masks":
            lines.append(f"right: {_text(right[:READ], tokenizer, model.config)}")
            lines.append(f"wrote: {_text(wrote[:READ], tokenizer, model.config)}")
            continue
        first, count = model.config.gap_token_ids
        for gap in [row for row in read if first <= row < first + count]:
            stood, put = (
                _text(_in_gap(row, gap, model.config), tokenizer, model.config) for row in (right, wrote)
            )
            lines.append(f"  gap {gap - first}: {stood!r}, wrote {put!r}")
    return lines


def _in_gap(row: list[int], gap: int, config: TransformerConfig) -> list[int]:
    """The tokens after a gap's mark, up to the next mark."""
    if gap not in row:
        return []
    first, count = config.gap_token_ids
    found = []
    for token in row[row.index(gap) + 1 :]:
        if first <= token < first + count:
            break
        found.append(token)
    return found


def _text(row: list[int], tokenizer: PreTrainedTokenizerBase, config: TransformerConfig) -> str:
    """Tokens as text, a gap as its number in brackets, a mask as a low line."""
    first, count = config.gap_token_ids
    marks = {config.mask_token_id: "_", config.end_token_id(): "¶", config.bos_token_id: ""}
    parts: list[str] = []
    run: list[int] = []
    for token in [*row, IGNORED]:
        is_gap = first <= token < first + count
        if token >= 0 and not is_gap and token not in marks:
            run.append(token)
            continue
        parts += [str(tokenizer.decode(run)).strip()] if run else []
        run = []
        parts += [f"[{token - first}]"] if is_gap else [marks.get(token, "")]
    return " ".join(" ".join(parts).split())
