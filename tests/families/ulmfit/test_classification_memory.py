"""The classifier's promise on memory: documents of any length train within bounds, with the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig


class HeldMemory(TorchDispatchMode):
    """Bytes of the tensors made inside that are still alive; the most there were, looked at every 50 operators."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}
        self.operators = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self.made[reference.cdata] = (reference, storage.nbytes())
        self.operators += 1
        if self.operators % 50 == 0:
            self.peak = max(self.peak, self.held())
        return result

    def held(self) -> int:
        """Bytes alive now."""
        self.made = {key: made for key, made in self.made.items() if not made[0].expired()}
        return sum(size for _, size in self.made.values())


def classifier(**options: Any) -> UlmfitForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "embedding_size": 12, "hidden_size": 20, "num_labels": 2}
    return UlmfitForSequenceClassification(UlmfitConfig(**{**sizes, **options})).train()


def train_once(model: UlmfitForSequenceClassification, lengths: list[int]) -> tuple[int, int]:
    """Bytes held for the backward pass, and the most held at any time of both passes."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(9, 60, mask.shape, generator=torch.Generator().manual_seed(1))
    with HeldMemory() as memory:
        loss = model(ids, attention_mask=mask, labels=torch.arange(len(lengths)) % 2).loss
        held = memory.held()
        loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    return held, memory.peak


@pytest.mark.parametrize("head", ["blocks", "bilstm-attention"])
def test_recomputed_activations_give_the_same_gradients_bit_for_bit(head: str) -> None:
    gradients = []
    for max_kept_tokens in (1, 10**6):
        model = classifier(
            head=head,
            chunk_length=8,
            max_pooled_tokens=30,
            max_kept_tokens=max_kept_tokens,
            bidirectional=True,
        )
        torch.manual_seed(1)  # dropout included
        ids = torch.randint(9, 60, (4, 50))
        mask = (torch.arange(50) < torch.tensor([50, 33, 8, 41])[:, None]).long()
        loss = model(ids, attention_mask=mask, labels=torch.tensor([0, 1, 1, 0])).loss
        loss.backward()
        gradients.append([loss, *(p.grad for p in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_memory_does_not_grow_with_the_length_beyond_the_window() -> None:
    held_short, peak_short = train_once(classifier(head="linear"), [2_000])
    held_long, peak_long = train_once(classifier(head="linear"), [20_000])
    # What does grow is the ids: two copies of 8 bytes a token.
    assert held_long < 1.05 * held_short
    assert peak_long < 1.05 * peak_short
    assert peak_long < 10 * 2**20


def test_a_token_head_s_memory_does_not_grow_with_the_length_beyond_the_window() -> None:
    held_short, peak_short = train_once(classifier(head="bilstm-attention"), [2_000])
    held_long, peak_long = train_once(classifier(head="bilstm-attention"), [20_000])
    assert held_long < 1.05 * held_short
    assert peak_long < 1.05 * peak_short


def test_beyond_max_kept_tokens_only_the_chunks_borders_are_held() -> None:
    everything, peak_everything = train_once(classifier(max_kept_tokens=10**6), [1_440] * 2)
    borders, peak_borders = train_once(classifier(max_kept_tokens=1), [1_440] * 2)
    assert borders < everything / 10
    assert peak_borders < peak_everything / 4


def test_a_whole_book_can_be_pooled_within_a_few_megabytes() -> None:
    # The window is all of the document; keeping every activation of it takes more than 20 MiB.
    held, peak = train_once(
        classifier(head="linear", max_pooled_tokens=10**6, max_kept_tokens=1_000), [5_000]
    )
    assert held < 2**18
    assert peak < 2**20


def test_rows_outside_their_window_keep_no_activations() -> None:
    # 16 documents, each with its window where the others have none: 16 x 72 tokens are pooled either way.
    even, _ = train_once(classifier(max_pooled_tokens=72, max_kept_tokens=2_000), [72] * 16)
    staggered, _ = train_once(
        classifier(max_pooled_tokens=72, max_kept_tokens=2_000), [72 * n for n in range(1, 17)]
    )
    assert staggered < 2 * even
