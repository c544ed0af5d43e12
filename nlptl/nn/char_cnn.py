"""Words from their characters: filters, a maximum, highways, a projection (Kim et al. 2016; Peters et al. 2018)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from nlptl.nn.autocast import product_dtype

WORDS_AT_ONCE = 512  # convolved together, of similar lengths
CACHED_WORDS = 2**16


class CharacterEmbedding(nn.Embedding):
    """Uniform, and zeros in row 0, which is for positions without a word."""

    def __init__(self, characters: int, size: int) -> None:
        super().__init__(characters, size, padding_idx=0)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        table = torch.empty_like(self.weight).uniform_(-1.0, 1.0)
        table[0] = 0.0
        init.copy_(self.weight, table)


class CharacterFilters(nn.Linear):
    """Filters over some neighbouring characters: a linear map of their vectors, side by side."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        init.uniform_(self.weight, -0.05, 0.05)
        init.zeros_(self.bias)


class NormalLinear(nn.Linear):
    """A linear layer that begins with normal weights and a constant bias."""

    def __init__(self, inputs: int, outputs: int, bias_start: float = 0.0) -> None:
        self.bias_start = bias_start
        super().__init__(inputs, outputs)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        init.normal_(self.weight, 0.0, 1.0 / math.sqrt(self.in_features))
        init.constant_(self.bias, self.bias_start)


class Highway(nn.Module):
    """`g * relu(transform(x)) + (1 - g) * x` with `g = sigmoid(carry(x))` (Srivastava et al. 2015).

    The gate is named as in the released weights, although it lets the transformed part through. It begins nearly
    closed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.carry = NormalLinear(width, width, bias_start=-2.0)
        self.transform = NormalLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(words, width) -> (words, width)."""
        return torch.lerp(x, self.transform(x).relu(), self.carry(x).sigmoid())


class CharCnn(nn.Module):
    """Character ids of words -> vectors, computed once for each distinct word of a call.

    Every parameter is a child's that has a `reset_parameters` of its own, and begins as in bilm-tf.

    In evaluation without gradients, vectors are also remembered from call to call, as long as no parameter changes.

    Args:
        characters: rows of the character embedding. Row 0 is for positions without a word, and stays zero.
        filters: pairs of a width in characters and a number of filters.
        highway_layers: between the filters and the projection.
        cached_words: bound of what is remembered; 0 remembers nothing.
    """

    def __init__(
        self,
        characters: int,
        embedding_size: int,
        filters: Sequence[Sequence[int]],
        activation: Literal["relu", "tanh"],
        highway_layers: int,
        projection_size: int,
        cached_words: int = CACHED_WORDS,
    ) -> None:
        super().__init__()
        self.embedding = CharacterEmbedding(characters, embedding_size)
        self.widths = [width for width, _ in filters]
        self.convolutions = nn.ModuleList(
            CharacterFilters(width * embedding_size, size) for width, size in filters
        )
        self.activation = activation
        total = sum(size for _, size in filters)
        self.highways = nn.ModuleList(Highway(total) for _ in range(highway_layers))
        self.projection = NormalLinear(total, projection_size)
        self._cache = _WordCache(cached_words)

    def forward(self, character_ids: Tensor) -> Tensor:
        """(..., 50) ids as the model is fed, 0 where there is no word -> (..., projection size)."""
        flat = character_ids.reshape(-1, character_ids.shape[-1])
        if not len(flat):
            return self.projection.bias.new_zeros(*character_ids.shape[:-1], self.projection.out_features)
        words, index = distinct_rows(flat)
        if self.training or torch.is_grad_enabled():
            self._cache.clear()
            vectors = self._vectors(words)
        else:
            vectors = self._cache.vectors(words, _fingerprint(self), self._vectors)
        # Like indexing, but its gradient is gathered word by word, which is much faster.
        return F.embedding(index, vectors).view(*character_ids.shape[:-1], -1)

    def _vectors(self, words: Tensor) -> Tensor:
        """(words, 50) -> (words, projection size)."""
        lengths, order = _spelled_lengths(words).sort()
        parts = zip(words[order].split(WORDS_AT_ONCE), lengths.split(WORDS_AT_ONCE), strict=True)
        x = torch.cat([self._convolved(part, int(spelled[-1])) for part, spelled in parts])
        x = x[order.argsort()]
        for highway in self.highways:
            x = highway(x)
        vectors: Tensor = self.projection(x)
        return vectors.to(self.projection.bias.dtype)

    def _convolved(self, words: Tensor, longest: int) -> Tensor:
        """The filters' maxima over a word, (words, filters).

        Beyond a word's spelling stands one id only. Windows that hold nothing else are all alike, and one of them is
        left, wherever there was one, when `max(self.widths)` of these ids are kept behind the longest spelling.
        """
        kept = words[:, : longest + max(self.widths)].long()
        weight = self.embedding.weight
        x = F.embedding(kept, weight, padding_idx=0).to(product_dtype(weight)).flatten(1)
        size = self.embedding.embedding_dim
        maxima = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            found = convolution(x.unfold(1, width * size, size))
            # The gradient of amax visits every position again; max knows where it was, but is slower itself.
            maxima.append(found.max(dim=1).values if found.requires_grad else found.amax(dim=1))
        total = torch.cat(maxima, dim=1)
        return total.relu() if self.activation == "relu" else total.tanh()


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows of an integer tensor, and for each row which of them it is.

    Rows are told apart by a hash, which is then checked: sorting numbers is many times faster than sorting rows.

    Args:
        rows: (n, width).

    Returns:
        (distinct, width), in no particular order, and (n,).
    """
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator).mul_(2).add_(1)
    hashes = (rows.long() * factors.to(rows.device)).sum(dim=1)
    found, index = torch.unique(hashes, return_inverse=True)
    first = index.new_empty(len(found)).scatter_(0, index, torch.arange(len(rows), device=rows.device))
    distinct = rows[first]
    if torch.equal(distinct[index], rows):
        return distinct, index
    distinct, index = torch.unique(rows, dim=0, return_inverse=True)
    return distinct, index


def _spelled_lengths(words: Tensor) -> Tensor:
    """For each word how many characters come before the run of one id that ends it, (words,)."""
    places = torch.arange(1, words.shape[1] + 1, device=words.device)
    return ((words != words[:, -1:]) * places).amax(dim=1)


def _fingerprint(module: nn.Module) -> tuple[object, ...] | None:
    """What changes when the module would compute something else; None where that cannot be known."""
    parameters = list(module.parameters())
    if any(parameter.is_inference() for parameter in parameters):
        return None
    like = parameters[0]
    return (
        product_dtype(like),
        *((p.data_ptr(), p.dtype, p.device, p._version) for p in parameters),
    )


class _WordCache:
    """Vectors of words seen before, for one state of the parameters; copies and pickles are empty."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lock = threading.Lock()
        self.fingerprint: tuple[object, ...] | None = None
        self.places: dict[bytes, int] = {}
        self.table: Tensor | None = None

    def __reduce__(self) -> tuple[type[_WordCache], tuple[int]]:
        return _WordCache, (self.capacity,)

    def clear(self) -> None:
        self.places, self.table = {}, None

    def vectors(
        self, words: Tensor, fingerprint: tuple[object, ...] | None, compute: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Vectors of distinct `words`, computing only those that are new.

        When there is no room for the new ones, everything is forgotten first.
        """
        if fingerprint is None or len(words) > self.capacity:
            return compute(words)
        with self.lock:
            if fingerprint != self.fingerprint:
                self.clear()
                self.fingerprint = fingerprint
            spelled = words.to("cpu", torch.int16).numpy()
            keys = [row.tobytes() for row in spelled]
            new = [number for number, key in enumerate(keys) if key not in self.places]
            if new:
                if len(self.places) + len(new) > self.capacity:
                    self.clear()
                    new = list(range(len(keys)))
                self._remember([keys[number] for number in new], compute(words[new]))
            assert self.table is not None
            return self.table[torch.tensor([self.places[key] for key in keys], device=words.device)]

    def _remember(self, keys: list[bytes], vectors: Tensor) -> None:
        start = len(self.places)
        end = start + len(keys)
        if self.table is None or end > len(self.table):
            rows = min(self.capacity, max(2 * end, 1024))
            with torch.inference_mode(False):  # or else it could only be written to in inference mode
                table = torch.empty(rows, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
            if self.table is not None:
                table[:start] = self.table[:start]
            self.table = table
        self.table[start:end] = vectors
        self.places.update(zip(keys, range(start, end), strict=True))
