"""fastai's word-level tokenizer, for checkpoints that came with a list of words, and how such a list is counted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.errors import ModelError
from nlptl.families.ulmfit.spacy_words import SpacyWords, require_spacy
from nlptl.families.ulmfit.text_rules import BOS, EOS, FLD, PAD, RULE_MARKERS, SPECIAL_WORDS, UNK
from nlptl.families.word_list_tokenizer import WordListTokenizer
from nlptl.families.words import word_counts

VOCABULARY_FILE = "vocab.json"
FILLER = "xxfake"  # rows that make the vocabulary a multiple of eight
# The names a role can have, the second that of fastai 0.7, which trained the checkpoints of the paper.
ROLES = {
    "unk_token": (UNK, "_unk_"),
    "pad_token": (PAD, "_pad_"),
    "bos_token": (BOS,),
    "eos_token": (EOS,),
    "sep_token": (FLD,),
}


class UlmfitWordTokenizer(WordListTokenizer):
    """Words by fastai's rules and spaCy's blank English tokenizer, looked up in a list of words.

    Text becomes `xxbos A`, a pair `xxbos A xxfld B`; a marker that the vocabulary lacks is left out, and so is a rule
    whose marker it lacks. A text that spells out `xxbos`, `xxpad`, `xxeos` or `xxfld` gets the unknown word there:
    those ids come from the tokenizer alone. (The markers of the rules, such as `xxmaj`, are words like any other.)
    `special_tokens_mask` marks `xxbos`, `xxfld` and padding. Nothing is truncated unless the caller asks for it.

    With `is_split_into_words=True` each given word is one token, its lower-cased form looked up, and no rule applies.

    Args:
        vocab: the words, row by row (fastai's `itos`). A word in several rows has the id of the first; all rows count.
        vocab_file: a JSON list of the same, if `vocab` is not given.

    Raises:
        ModelError: there is no vocabulary, it is not a list of words, it has no unknown word, or spaCy is absent.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self, vocab: list[str] | None = None, vocab_file: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> None:
        require_spacy()
        self._words = _read_words(vocab_file) if vocab is None else _checked(vocab, "in vocab")
        self._ids: dict[str, int] = {}
        for row, word in enumerate(self._words):
            self._ids.setdefault(word, row)
        for role, names in ROLES.items():
            found = next((name for name in names if name in self._ids), None)
            if kwargs.get(role) is None and found is not None:
                kwargs[role] = found
        if str(kwargs.get("unk_token")) not in self._ids:
            raise ModelError(
                "the vocabulary has no word for unknown words",
                "in vocab" if vocab is not None else f"in {vocab_file}",
                f"it must have {' or '.join(ROLES['unk_token'])}",
            )
        kwargs["token_type_ids_pattern"] = "all_zeros"
        super().__init__(**kwargs)
        structural = {self.pad_token, self.bos_token, self.eos_token, self.sep_token}
        self._ids_in_text = {word: row for word, row in self._ids.items() if word not in structural}
        self._splitter: SpacyWords | None = None

    @property
    def vocab_size(self) -> int:
        """Rows of the vocabulary, those that repeat a word included: the rows of the model's embedding."""
        return len(self._words)

    def get_vocab(self) -> dict[str, int]:
        return {**self._ids, **self._added_tokens_encoder}

    def _update_total_vocab_size(self) -> None:
        self.total_vocab_size = max([len(self._words), *(row + 1 for row in self._added_tokens_decoder)])

    def words(self, text: str) -> list[str]:
        """The words of `text`, those that the vocabulary lacks included; no begin marker."""
        if self._splitter is None:
            self._splitter = SpacyWords(RULE_MARKERS & self._ids.keys())
        return self._splitter(text)

    def text_ids(self, text: str) -> list[int]:
        """The ids of the words of `text`, without the begin marker."""
        return self._look_up(self.words(text))

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:  # type: ignore[override]
        # Overridden whole: transformers would first cut the special tokens that a text spells out from it.
        return [self._unknown_if_structural(word) for word in self.words(text)]

    def _unknown_if_structural(self, word: str) -> str:
        return str(self.unk_token) if word in self._ids and word not in self._ids_in_text else word

    def _look_up(self, words: Iterable[str]) -> list[int]:
        known, unknown = self._ids_in_text, self._ids[str(self.unk_token)]
        return [known.get(word, unknown) for word in words]

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids[str(self.unk_token)])

    def _convert_id_to_token(self, index: int) -> str:
        return self._words[index] if 0 <= index < len(self._words) else str(self.unk_token)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        ids = [*self._marker(self.bos_token_id), *token_ids_0]
        return ids if token_ids_1 is None else [*ids, *self._marker(self.sep_token_id), *token_ids_1]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        if already_has_special_tokens:
            structural = {self.bos_token_id, self.pad_token_id, self.sep_token_id}
            return [int(row in structural) for row in token_ids_0]
        mask = [*(1 for _ in self._marker(self.bos_token_id)), *(0 for _ in token_ids_0)]
        if token_ids_1 is not None:
            mask += [*(1 for _ in self._marker(self.sep_token_id)), *(0 for _ in token_ids_1)]
        return mask

    @staticmethod
    def _marker(row: int | None) -> list[int]:
        return [] if row is None else [row]

    def given_ids(self, words: Sequence[str]) -> list[int]:
        """The ids of words that are given as such: their lower-cased forms, and no rule applies."""
        return self._look_up(word.lower() for word in words)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{VOCABULARY_FILE}"
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(self._words, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        os.replace(temporary, path)
        return (str(path),)

    def __getstate__(self) -> dict[str, Any]:
        # What the splitter remembers is not part of what the tokenizer is: copies and hashes go without it.
        return {**self.__dict__, "_splitter": None}


def build_vocabulary(counts: Mapping[str, int], vocab_size: int = 60000, min_frequency: int = 3) -> list[str]:
    """fastai's list of words: the nine special ones, then the others by count, filled up with `xxfake`.

    Args:
        counts: how often each word occurs; of equally frequent words the one that comes first goes first.
        vocab_size: rows wanted, special words included; the result is filled to the next multiple of eight.
        min_frequency: words that occur less often are left out.
    """
    by_count = sorted(counts, key=lambda word: -counts[word])
    words = [word for word in by_count if counts[word] >= min_frequency and word not in SPECIAL_WORDS]
    vocabulary = [*SPECIAL_WORDS, *words][:vocab_size]
    return vocabulary + [FILLER] * (-len(vocabulary) % 8)


def train_word_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 60000,
    min_frequency: int = 3,
    on_note: Callable[[str], None] = lambda note: None,
) -> UlmfitWordTokenizer:
    """Count the words of `texts`, read once, and keep the most frequent (see `build_vocabulary`).

    Raises:
        ModelError: spaCy is not installed.
    """
    split = SpacyWords()
    counts = word_counts(map(split, texts), on_note)
    return UlmfitWordTokenizer(build_vocabulary(counts, vocab_size, min_frequency))


def _read_words(path: str | os.PathLike[str] | None) -> list[str]:
    remedy = "import the checkpoint again, with its list of words"
    if path is None:
        raise ModelError("the word tokenizer has no vocabulary", f"{VOCABULARY_FILE} is missing", remedy)
    try:
        words = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"the vocabulary cannot be read ({error})", f"in {path}", remedy) from error
    return _checked(words, f"in {path}")


def _checked(words: object, where: str) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ModelError(
            "the vocabulary is not a list of words", where, "give fastai's itos as a JSON list of strings"
        )
    return words
