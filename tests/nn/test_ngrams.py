"""Keys of runs of tokens, and scores by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from nlptl.nn.ngrams import SPELLED, NgramScores, ngram_keys, spelled_out


def batch(*texts: list[int]) -> tuple[Tensor, Tensor]:
    """Ids padded with 0, and the lengths."""
    width = max(map(len, texts))
    ids = torch.tensor([text + [0] * (width - len(text)) for text in texts])
    return ids, torch.tensor([len(text) for text in texts])


def keys_of(text: list[int], longest: int) -> list[int]:
    return ngram_keys(*batch(text), longest)[0].tolist()


def test_a_run_of_tokens_has_one_key_wherever_it_stands() -> None:
    keys, rows = ngram_keys(*batch([5, 7, 7, 9], [7, 7], [3]), 2)
    found = [sorted(keys[rows == row].tolist()) for row in range(3)]
    assert len(found[0]) == 4 + 3
    assert set(found[1]) <= set(found[0])  # 7, 7 and "7 7"
    assert not set(found[2]) & {*found[0], *found[1]}
    assert len(set(found[0])) == 6  # 5, 7, 9, "5 7", "7 7", "7 9"


def test_order_length_and_zeros_tell_runs_apart() -> None:
    texts = [[1, 2], [2, 1], [0], [0, 0], [0, 0, 0], [1], [2], [3], [1, 2, 3], [0, 1], [1, 0]]
    whole = [keys_of(text, len(text))[-1] for text in texts]
    assert len(set(whole)) == len(texts)


def test_many_runs_of_a_large_vocabulary_do_not_collide() -> None:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 400_000, (1, 200_000)))
    keys, _ = ngram_keys(tokens, torch.tensor([200_000]), 3)
    runs = {tuple(run) for run in tokens[0].unfold(0, 3, 1).tolist()}
    assert len(set(keys[-199_998:].tolist())) == len(runs)


def test_padding_belongs_to_no_run() -> None:
    alone = keys_of([4, 6], 3)
    keys, rows = ngram_keys(*batch([4, 6], [1, 2, 3, 4, 5]), 3)
    assert sorted(keys[rows == 0].tolist()) == sorted(alone)
    assert ngram_keys(*batch([], [1]), 2)[1].tolist() == [1]
    assert (
        ngram_keys(torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, dtype=torch.long), 2)[0].tolist() == []
    )


def test_a_token_of_characters_is_one_token() -> None:
    words = {"a": [1, 2, 0], "b": [2, 1, 0], "c": [1, 2, 3]}
    ids = torch.tensor([[words["a"], words["b"], words["a"]], [words["a"], words["c"], words["a"]]])
    keys, rows = ngram_keys(ids, torch.tensor([3, 3]), 1)
    first, second = (keys[rows == row].tolist() for row in range(2))
    assert first[0] == first[2] == second[0] == second[2]
    assert len({first[0], first[1], second[1]}) == 3


@pytest.fixture
def texts() -> list[list[int]]:
    random = np.random.default_rng(1)
    return [random.integers(1, 9, random.integers(1, 12)).tolist() for _ in range(30)]


@pytest.fixture
def fitted(texts: list[list[int]]) -> NgramScores:
    """All n-grams of the texts, with random weights."""
    keys, rows = ngram_keys(*batch(*texts), 2)
    scores = NgramScores(0, 3)
    scores.keys = keys.unique()
    counts = torch.stack([torch.isin(scores.keys, keys[rows == row]) for row in range(len(texts))]).sum(dim=0)
    scores.rarity = torch.log((1 + len(texts)) / (1 + counts)) + 1
    generator = torch.Generator().manual_seed(0)
    scores.weight = torch.randn(len(scores.keys), 3, generator=generator)
    scores.bias = torch.randn(3, generator=generator)
    return scores


def test_features_are_those_of_scikit_learn(texts: list[list[int]], fitted: NgramScores) -> None:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\d+", sublinear_tf=True)
    expected = vectorizer.fit_transform(" ".join(map(str, text)) for text in texts)
    columns = [
        int(torch.searchsorted(fitted.keys, keys_of([int(word) for word in name.split()], 2)[-1]))
        for name in vectorizer.get_feature_names_out()
    ]
    rows, places, values = fitted.features(*batch(*texts), 2)
    found = torch.zeros(len(texts), len(fitted.keys)).index_put((rows, places), values)
    np.testing.assert_allclose(found[:, columns].numpy(), expected.toarray(), atol=1e-6)


def spelling_of(*tokens: str) -> Tensor:
    codes = torch.zeros(len(tokens), SPELLED, dtype=torch.int64)
    for row, token in zip(codes, tokens, strict=True):
        row[: len(token)] = torch.tensor([ord(character) for character in token])
    return codes


def test_texts_are_spelled_without_their_padding() -> None:
    spelling = spelling_of("", "_not", "hing", "_a")
    characters, counts = spelled_out(*batch([1, 2, 3], [3], [0]), spelling)
    said = [
        "".join(map(chr, row[:count]))
        for row, count in zip(characters.tolist(), counts.tolist(), strict=True)
    ]
    assert said == ["_nothing_a", "_a", ""]
    unknown, _ = spelled_out(*batch([3, 99, 1]), spelling)  # a token beyond the list is passed over
    assert "".join(map(chr, unknown[0].tolist())) == "_a_not"


def test_features_of_pieces_are_those_of_scikit_learn() -> None:
    spelling = spelling_of("", "_not", "hing", "_a", "ing", "_th")
    texts = [[1, 2, 3], [5, 4, 3, 1], [3, 3, 1, 2], [1]]
    written = ["_nothing_a", "_thing_a_not", "_a_a_nothing", "_not"]
    expected = TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True).fit_transform(written)
    scores = NgramScores(0, 2, len(spelling))
    scores.spelling = spelling
    ids, lengths = batch(*texts)
    (_, _), (keys, rows) = scores.found(ids, lengths, 1)
    scores.keys = keys.unique()
    counts = torch.stack([torch.isin(scores.keys, keys[rows == row]) for row in range(len(texts))]).sum(dim=0)
    scores.rarity = torch.log((1 + len(texts)) / (1 + counts)) + 1
    found_rows, places, values = scores.features(ids, lengths, 1)
    found = torch.zeros(len(texts), len(scores.keys)).index_put((found_rows, places), values)
    np.testing.assert_allclose((found @ found.T).numpy(), (expected @ expected.T).toarray(), atol=1e-6)


def test_runs_of_tokens_and_pieces_count_alike() -> None:
    """Each kind has the length 1, and no piece has a token's key."""
    scores = NgramScores(0, 2, 3)
    scores.spelling = spelling_of("a", "b", "cd")
    ids, lengths = batch([97, 98, 1, 2, 2], [0, 1, 2])
    (runs, _), (pieces, _) = scores.found(ids, lengths, 2)
    assert not set(runs.tolist()) & set(pieces.tolist())
    scores.keys = torch.cat([runs, pieces]).unique()
    scores.rarity = torch.ones(len(scores.keys))
    rows, _, values = scores.features(ids, lengths, 2)
    torch.testing.assert_close(torch.zeros(2).index_add(0, rows, values.square()), torch.full((2,), 2.0))


def test_scores_depend_on_the_text_alone(texts: list[list[int]], fitted: NgramScores) -> None:
    def scored(*of: list[int]) -> Tensor:
        ids, lengths = batch(*of)
        return fitted(ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long(), 2, several=True)

    together, alone = scored(*texts), torch.cat([scored(text) for text in texts])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(scored(*texts[::-1]).flip(0), together)


def test_a_text_of_unknown_tokens_has_the_bias(fitted: NgramScores) -> None:
    ids, _ = batch([100, 101])
    torch.testing.assert_close(fitted(ids, None, 2, several=True)[0], fitted.bias)
    odds = fitted(ids, None, 2, several=False)[0].exp()
    torch.testing.assert_close(odds, fitted.bias.sigmoid())
