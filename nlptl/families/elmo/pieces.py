"""Documents in pieces of a bounded number of words, run side by side, and put together again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Pieces:
    """The pieces of a batch of documents that hold any word, in the order of the documents.

    Attributes:
        input_ids: (pieces, words of a piece, 50).
        mask: (pieces, words of a piece).
        of_text: (pieces,), the row of each piece's document.
        number: (pieces,), which piece of its document it is.
        from_end: (pieces,), how many pieces of the document come after it.
        texts, words: how many rows the batch has and how long they are.
    """

    input_ids: Tensor
    mask: Tensor
    of_text: Tensor
    number: Tensor
    from_end: Tensor
    texts: int
    words: int

    @classmethod
    def of(cls, input_ids: Tensor, attention_mask: Tensor, length: int) -> Pieces:
        """Cut documents (batch, words, 50), padded on the right; those of at most `length` words stay whole."""
        texts, words = attention_mask.shape
        length = max(1, min(length, words))
        count = -(-words // length)
        missing = count * length - words
        ids = F.pad(input_ids, (0, 0, 0, missing)).view(texts * count, length, -1)
        mask = F.pad(attention_mask, (0, missing)).view(texts * count, length)
        held = mask.any(dim=1)
        held[::count] = True  # a document without any word keeps a place
        row = torch.arange(texts, device=mask.device).repeat_interleave(count)
        number = torch.arange(count, device=mask.device).repeat(texts)
        last = held.view(texts, count).sum(dim=1).repeat_interleave(count) - 1
        return cls(
            input_ids=ids[held],
            mask=mask[held],
            of_text=row[held],
            number=number[held],
            from_end=(last - number)[held],
            texts=texts,
            words=words,
        )

    def last(self, most: int) -> Pieces:
        """The pieces at the end of each document, so many at most, as documents that begin with the first of them."""
        kept = self.from_end < most
        first = (self.number + self.from_end + 1 - most).clamp(min=0)
        return Pieces(
            input_ids=self.input_ids[kept],
            mask=self.mask[kept],
            of_text=self.of_text[kept],
            number=(self.number - first)[kept],
            from_end=self.from_end[kept],
            texts=self.texts,
            words=min(self.words, most * self.mask.shape[1]),
        )

    def joined(self, vectors: Tensor) -> Tensor:
        """Vectors of the pieces' words (pieces, words of a piece, ...) -> of the documents (batch, words, ...)."""
        length = self.mask.shape[1]
        count = -(-self.words // length)
        whole = vectors.new_zeros(self.texts * count, *vectors.shape[1:])
        whole = whole.index_copy(0, self.of_text * count + self.number, vectors)
        return whole.view(self.texts, count * length, *vectors.shape[2:])[:, : self.words]
