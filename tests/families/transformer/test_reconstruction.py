"""What is shown of a model's writing: the gaps, what stood there, what it wrote."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.family import TransformerFamily
from nlptl.families.transformer.modeling import TransformerForDenoising
from nlptl.families.transformer.reconstruction import shown_reconstructions
from tests.families.transformer.test_modeling import SIZES

BEGIN, END, MASK, GAP = 1, 2, 4, 5


class Writer(TransformerForDenoising):
    """Writes what it is given instead of what it thinks."""

    script: Tensor

    def decode(self, decoder_input_ids: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        """The rows of the softmax that win at each place: those of the script, far longer than any other."""
        wanted = self.script[:, : decoder_input_ids.shape[1]]
        return self.lm_head.weight[wanted] * 100


def writer(*rows: list[int], **values: object) -> Writer:
    torch.manual_seed(0)
    made = Writer(TransformerConfig(**{**SIZES, "width": 64, "vocab_size": 400, **values})).eval()
    made.script = torch.tensor(rows)
    return made


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return TransformerFamily().train_tokenizer("subword", ["a fine film about the sea"] * 9, 400)


def test_an_end_token_within_a_gap_ends_a_text_and_not_the_writing() -> None:
    ids = torch.tensor([[80, GAP, 81, GAP + 1], [80, GAP, 81, 82]])
    model = writer([GAP, 90, END, BEGIN, GAP + 1, 91, END, 92, END], [GAP, 90, END, 93, 94, 95, 96, 97, 98])
    written = model.reconstruct(ids, torch.ones_like(ids), 9)
    assert written == [[GAP, 90, END, BEGIN, GAP + 1, 91], [GAP, 90]]


def test_a_text_without_gaps_is_written_in_full() -> None:
    ids = torch.tensor([[80, MASK, END, 81], [80, MASK, 81, 0]])
    model = writer([80, 90, END, 81, END], [80, 90, 81, END, 99], noise="masks")
    written = model.reconstruct(ids, torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]), 9)
    assert written == [[80, 90, END, 81], [80, 90, 81]]


def test_gaps_are_shown_with_what_stood_there_and_what_was_written(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    fine, film, about, sea = (
        tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("fine", "film", "about", "sea")
    )
    read = [*fine, GAP, *about, GAP + 1, END]
    right = [GAP, *film, END, GAP + 1, *sea, END]
    wrote = [GAP, *sea, GAP + 1, *sea, END]
    wrote += [END] * (len(right) - len(wrote))
    batch = {
        "input_ids": torch.tensor([read]),
        "attention_mask": torch.ones(1, len(read), dtype=torch.long),
        "labels": torch.tensor([[*right, -100]]),
    }
    lines = shown_reconstructions(writer([*wrote, END]), tokenizer, batch)
    assert lines == [
        "reads: fine [0] about [1] ¶",
        "  gap 0: 'film ¶', wrote 'sea'",
        "  gap 1: 'sea', wrote 'sea'",
    ]


def test_masks_are_shown_beside_the_whole_text(tokenizer: PreTrainedTokenizerBase) -> None:
    fine, film, sea = (
        tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("fine", "film", "sea")
    )
    text = [*fine, *film]
    wrote = [*fine, *(sea * len(film))[: len(film)], END]
    batch = {
        "input_ids": torch.tensor([[*fine, *[MASK] * len(film)]]),
        "attention_mask": torch.ones(1, len(text), dtype=torch.long),
        "labels": torch.tensor([[*text, END]]),
    }
    reads, right, written = shown_reconstructions(writer(wrote, noise="masks"), tokenizer, batch)
    assert reads == "reads: fine" + " _" * len(film)
    assert right == "right: fine film"
    assert written.startswith("wrote: fine s")
