"""Classification heads: a text's vector, or the vectors of its tokens -> a score for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from nlptl.nn.batch_norm import batch_norm
from nlptl.nn.dropout import Dropout
from nlptl.nn.token_head import TokenHead

HeadKind = Literal["blocks", "linear", "bilstm-attention"]


class HeadBlock(nn.Module):
    """Batch normalisation, dropout and a linear layer, with ReLU after all but the last block."""

    def __init__(self, inputs: int, outputs: int, dropout: float, final: bool, bias: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.final = final

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        x = self.linear(self.dropout(batch_norm(self.norm, x)))
        return x if self.final else x.relu()


class BlocksHead(nn.Module):
    """The classifier of ULMFiT (Howard & Ruder 2018, section 3.3): blocks over [last, max, mean].

    Args:
        width: of the pooled vector.
        hidden: widths between the blocks.
        dropouts: one for each block.
        classes: number of outputs.
        bias: of the linear layers; fastai 2 has none, its predecessors had.
    """

    def __init__(
        self, width: int, hidden: Sequence[int], dropouts: Sequence[float], classes: int, bias: bool = False
    ) -> None:
        super().__init__()
        widths = [width, *hidden, classes]
        if len(dropouts) != len(widths) - 1:
            raise ValueError(f"{len(widths) - 1} blocks need as many dropouts, not {len(dropouts)}")
        pairs = list(zip(widths[:-1], widths[1:], dropouts, strict=True))
        self.blocks = nn.ModuleList(
            HeadBlock(inputs, outputs, dropout, final=number == len(pairs) - 1, bias=bias)
            for number, (inputs, outputs, dropout) in enumerate(pairs)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """(batch, width) -> (batch, classes)."""
        for block in self.blocks:
            pooled = block(pooled)
        return pooled


def check_head(kind: HeadKind, hidden: Sequence[int], dropouts: Sequence[float]) -> None:
    """A classifier's config must give a head as many numbers as it has parts.

    Raises:
        ValueError: it does not.
    """
    if len(dropouts) != len(hidden) + 1:
        raise ValueError("head_dropouts needs one value more than head_hidden_sizes")
    if kind == "bilstm-attention" and len(hidden) != 1:
        raise ValueError("head_hidden_sizes of bilstm-attention is one number, the units in each direction")


def build_head(
    kind: HeadKind,
    width: int,
    hidden: Sequence[int],
    dropouts: Sequence[float],
    classes: int,
    bias: bool,
    layers: int = 1,
) -> nn.Module:
    """The head that a classifier's config names.

    `blocks`, or `linear` (what logistic regression becomes), on a text's vector of this width; `bilstm-attention` on
    the vectors of its tokens, (layers, width) each, with `hidden[0]` units in each direction.
    """
    match kind:
        case "blocks":
            return BlocksHead(width, hidden, dropouts, classes, bias)
        case "linear":
            return nn.Linear(width, classes)
        case "bilstm-attention":
            return TokenHead(layers, width, hidden[0], dropouts, classes)


def head_scores(head: nn.Module, vectors: Tensor, mask: Tensor | None) -> Tensor:
    """A head of either kind on its input -> (batch, classes).

    Args:
        mask: (batch, time), of the vectors of tokens; None where all are tokens, or one vector is a text.
    """
    scores: Tensor = head(vectors, mask) if isinstance(head, TokenHead) else head(vectors)
    return scores


def head_penalty(head: nn.Module, like: Tensor) -> Tensor:
    """What training with this head adds to the loss: a scalar of the type of `like`, nil for most heads."""
    return head.penalty().to(like.dtype) if isinstance(head, TokenHead) else like.new_zeros(())
