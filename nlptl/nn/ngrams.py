"""A linear classifier on the n-grams of a text's tokens and of their characters: what single words, their parts and
phrases say, beside a neural network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from nlptl.nn.sequences import row_lengths

MULTIPLIER = 0x5851F42D4C957F2D  # odd, so that products modulo 2 ** 64 lose nothing (Knuth's MMIX generator)
LONGEST = 5
SPELLED = 16  # characters of a token that count
PIECES = (2, 5)  # characters of the shortest and the longest piece
CHARACTERS = 2**40  # added to a character's code, so that no piece has the key of a run of tokens
MOST_SPELLED = 2**16  # tokens of a text that are spelled, so that the longest text fits


def check_ngrams(ngrams: int, longest: int, spelled: int) -> None:
    """How many n-grams a model has, of how many tokens, and how many tokens it can spell.

    Raises:
        ValueError: there can be no such list.
    """
    if min(ngrams, spelled) < 0 or not 1 <= longest <= LONGEST:
        raise ValueError(
            f"ngrams and spelled_tokens must not be negative, nor longest_ngram outside 1 to {LONGEST}"
        )


def ngram_keys(input_ids: Tensor, lengths: Tensor, longest: int, shortest: int = 1) -> tuple[Tensor, Tensor]:
    """A number for each run of `shortest` to `longest` tokens of each text, the same for the same tokens.

    Two different runs have the same number about once in 2 ** 64.

    Args:
        input_ids: (batch, time), or (batch, time, characters), of which each row of characters is a token.
        lengths: (batch,) tokens of each text.

    Returns:
        Keys (n-grams,) and the text that each belongs to, (n-grams,).
    """
    tokens = input_ids.long()
    while tokens.dim() > 2:
        folded = tokens.new_zeros(tokens.shape[:-1])
        for column in tokens.unbind(-1):
            folded = folded * MULTIPLIER + column + 1
        tokens = folded
    keys, rows = [], []
    places = torch.arange(tokens.shape[1], device=tokens.device)
    grown = torch.zeros_like(tokens)
    for size in range(1, min(longest, tokens.shape[1]) + 1):
        grown = grown[:, : tokens.shape[1] - size + 1] * MULTIPLIER + tokens[:, size - 1 :] + size
        if size < shortest:
            continue
        row, place = torch.nonzero(places[: grown.shape[1]] + size <= lengths[:, None], as_tuple=True)
        keys.append(grown[row, place])
        rows.append(row)
    if not keys:
        return tokens.new_zeros(0), tokens.new_zeros(0)
    return torch.cat(keys), torch.cat(rows)


def spelled_out(input_ids: Tensor, lengths: Tensor, spelling: Tensor) -> tuple[Tensor, Tensor]:
    """Texts as characters: codes (batch, characters), padded with 0, and how many there are, (batch,).

    Args:
        input_ids: (batch, time).
        lengths: (batch,) tokens of each text.
        spelling: (tokens, characters): the codes of each token's characters, padded with 0.
    """
    ids = input_ids[:, :MOST_SPELLED]
    known = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]) & (ids < len(spelling))
    codes = spelling[torch.where(known, ids, 0)] * known[:, :, None]
    codes = codes.flatten(1)
    places = (codes > 0).cumsum(dim=1)
    rows, columns = torch.nonzero(codes, as_tuple=True)
    counts = places[:, -1] if codes.shape[1] else lengths.new_zeros(len(ids))
    characters = codes.new_zeros(len(ids), int(counts.max()) if len(counts) else 0)
    characters[rows, places[rows, columns] - 1] = codes[rows, columns]
    return characters, counts


class NgramScores(nn.Module):
    """Scores of the classes by the n-grams that a text has of a given list: runs of tokens, and pieces of 2 to 5
    characters of the text that its tokens spell.

    As in Wang and Manning 2012, "Baselines and Bigrams": a feature is the logarithm of how often an n-gram occurs,
    times its rarity, and a text's features of each kind have the length 1. Nothing here is trained by gradients: all
    are buffers, which `strategies.ngrams` fills.

    Args:
        ngrams: how many there are.
        classes: number of outputs.
        spelled: how many tokens can be spelled; 0 where pieces do not count.

    Attributes:
        keys: (ngrams,) of `ngram_keys`, ascending.
        spelling: (spelled, characters): of each token.
        rarity: (ngrams,) inverse document frequency.
        weight, bias: (ngrams, classes) and (classes,) of one logistic regression a class.
        shares: (2,): how much the network's logits and these count together.
    """

    keys: Tensor
    rarity: Tensor
    weight: Tensor
    bias: Tensor
    shares: Tensor
    spelling: Tensor

    def __init__(self, ngrams: int, classes: int, spelled: int = 0) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(ngrams, dtype=torch.int64))
        self.register_buffer("rarity", torch.zeros(ngrams))
        self.register_buffer("weight", torch.zeros(ngrams, classes))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("shares", torch.tensor([1.0, 0.0]))
        self.register_buffer("spelling", torch.zeros(spelled, SPELLED, dtype=torch.int64))

    def found(self, input_ids: Tensor, lengths: Tensor, longest: int) -> list[tuple[Tensor, Tensor]]:
        """Keys of all n-grams of the texts, in the list or not, and the text that each belongs to: of runs of tokens,
        and of pieces where those count."""
        runs = ngram_keys(input_ids, lengths, longest)
        if not len(self.spelling):
            return [runs]
        characters, counts = spelled_out(input_ids, lengths, self.spelling)
        shortest, most = PIECES
        return [runs, ngram_keys(characters + CHARACTERS, counts, most, shortest)]

    def features(self, input_ids: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the texts have of the n-grams: texts, n-grams and values, (found,) each."""
        kinds = [
            self._values(keys, rows, len(input_ids)) for keys, rows in self.found(input_ids, lengths, longest)
        ]
        texts, places, values = (torch.cat(parts) for parts in zip(*kinds, strict=True))
        return texts, places, values

    def _values(self, keys: Tensor, rows: Tensor, texts: int) -> tuple[Tensor, Tensor, Tensor]:
        places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        known = self.keys[places] == keys
        found, counts = torch.unique(rows[known] * len(self.keys) + places[known], return_counts=True)
        rows, places = found // len(self.keys), found % len(self.keys)
        values = (1 + counts.to(self.rarity.dtype).log()) * self.rarity[places]
        squares = values.new_zeros(texts).index_add(0, rows, values.square())
        return rows, places, values / squares.sqrt()[rows]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, longest: int, *, several: bool
    ) -> Tensor:
        """Scores to add to a network's logits, (batch, classes).

        Args:
            longest: tokens of the longest n-grams that are looked for.
            several: each class has a probability of its own; else those of a text sum to 1.
        """
        rows, places, values = self.features(input_ids, row_lengths(input_ids, attention_mask), longest)
        odds = self.bias.repeat(len(input_ids), 1)
        odds = odds.index_add(0, rows, values[:, None] * self.weight[places])
        return odds if several else logsigmoid(odds)
