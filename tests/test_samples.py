"""The sample set that ships with the package is what its README says."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from itertools import combinations

import pytest

LABELS = ["account", "billing", "delivery", "question", "returns", "technical"]
Row = tuple[str, str]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Row]]:
    """(text, label) of every line; anything but a `text` and a `label`, both strings, fails here."""
    rows: dict[str, list[Row]] = {}
    for split in ("train", "test"):
        rows[split] = []
        lines = (
            (files("nlptl") / "data" / "samples" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        )
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            assert list(row) == ["text", "label"], f"{split}.jsonl, line {number}"
            assert all(isinstance(value, str) and value.strip() == value != "" for value in row.values())
            rows[split].append((row["text"], row["label"]))
    return rows


@pytest.fixture(scope="module")
def texts(splits: dict[str, list[Row]]) -> list[str]:
    return [text for rows in splits.values() for text, _ in rows]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_there_are_enough_messages_of_each_of_the_six_classes(splits: dict[str, list[Row]]) -> None:
    train, test = (Counter(label for _, label in splits[split]) for split in ("train", "test"))
    assert sum(train.values()) + sum(test.values()) >= 900
    assert sorted(train) == sorted(test) == LABELS
    assert min(train.values()) >= 100


def test_a_quarter_of_each_class_is_test_data(splits: dict[str, list[Row]]) -> None:
    train, test = (Counter(label for _, label in splits[split]) for split in ("train", "test"))
    for label in LABELS:
        assert test[label] / (train[label] + test[label]) == pytest.approx(0.25, abs=0.01)


def test_classes_are_mixed_in_the_order_of_the_lines(splits: dict[str, list[Row]]) -> None:
    for rows in splits.values():
        assert {label for _, label in rows[:40]} == set(LABELS)


def test_no_message_is_there_twice(texts: list[str]) -> None:
    """Nor twice but for capitals and punctuation; so no test message is in the training data either."""
    counts = Counter(" ".join(words(text)) for text in texts)
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_message_is_nearly_a_copy_of_another(texts: list[str]) -> None:
    """No two share more than 70 % of the word 3-grams of the shorter one."""
    owners: dict[tuple[str, ...], set[int]] = {}
    sizes = []
    for index, text in enumerate(texts):
        tokens = words(text)
        trigrams = set(zip(tokens, tokens[1:], tokens[2:], strict=False))
        sizes.append(len(trigrams))
        for trigram in trigrams:
            owners.setdefault(trigram, set()).add(index)
    shared = Counter(pair for indices in owners.values() for pair in combinations(sorted(indices), 2))
    near = [(texts[a], texts[b]) for (a, b), count in shared.items() if count > 0.7 * min(sizes[a], sizes[b])]
    assert near == []


def test_no_address_or_telephone_number_is_in_a_message(texts: list[str]) -> None:
    reachable = re.compile(r"\S@\S|https?:|www\.|\d[\d ]{6,}\d")
    assert [text for text in texts if reachable.search(text)] == []


def test_the_readme_states_the_true_counts(splits: dict[str, list[Row]]) -> None:
    readme = (files("nlptl") / "data" / "samples" / "README.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \| (\d+) \|$", readme, flags=re.MULTILINE)
    train, test = (Counter(label for _, label in splits[split]) for split in ("train", "test"))
    assert stated == [(label, str(train[label]), str(test[label])) for label in LABELS]
