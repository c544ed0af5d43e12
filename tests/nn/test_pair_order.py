from __future__ import annotations

import torch

from nlptl.nn.pair_order import swapped_pair

START, SEP, END, PAD = 90, 91, 92, 0


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
    return ids, torch.tensor([len(row) for row in rows])


def test_the_texts_of_a_pair_change_places_between_their_marks() -> None:
    rows = [
        [START, 1, 2, 3, SEP, 4, 5, END],
        [START, SEP, 6, END],
        [START, 7, SEP, END],
        [START, SEP, END],
        [START, 8, 9, END],
        [START, 1, SEP, 2, SEP, 3, END],
    ]
    expected = [
        [START, 4, 5, SEP, 1, 2, 3, END],
        [START, 6, SEP, END],
        [START, SEP, 7, END],
        [START, SEP, END],
        [START, 8, 9, END],
        [START, 2, SEP, 3, SEP, 1, END],
    ]
    ids, lengths = padded(rows)
    swapped = swapped_pair(ids, lengths, SEP, head=1, tail=1)
    assert torch.equal(swapped, padded(expected)[0])
    again = swapped_pair(swapped[:5], lengths[:5], SEP, head=1, tail=1)
    assert torch.equal(again, ids[:5])


def test_without_marks_the_whole_row_is_the_pair() -> None:
    ids, lengths = padded([[1, 2, SEP, 3], [SEP, 4]])
    assert swapped_pair(ids, lengths, SEP, head=0, tail=0).tolist() == [[3, SEP, 1, 2], [4, SEP, PAD, PAD]]
