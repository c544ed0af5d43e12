"""Tokens as GPT was trained on them: ftfy, the authors' standardisation, spaCy's English words, BPE within a word."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers.models import BPE

from nlptl.errors import ModelError
from nlptl.families.word_list_tokenizer import WordListTokenizer

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer

# The names of train.py, which no file of the release holds.
START, DELIMITER, EXTRACT, UNK = "_start_", "_delimiter_", "_classify_", "<unk>"
LINE_BREAK = "\n</w>"
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
WORDS_REMEMBERED = 200_000
LONGEST_CHUNK = 256  # characters, then it is cut: spaCy takes quadratic time over a chunk full of punctuation
_TOO_LONG = re.compile(rf"\S{{{LONGEST_CHUNK}}}(?=\S)")


def missing_package() -> str | None:
    """The package that this tokenisation needs and that is absent, if one is."""
    return next((name for name in ("ftfy", "spacy") if find_spec(name) is None), None)


class GptPaperTokenizer(WordListTokenizer):
    """Faithful to the paper (section 4.1) and to the code of its release.

    Without marks a text is its tokens alone, and a pair one text after the other; with them see
    `tokenization.classifier_tokenizer`. A symbol that the vocabulary lacks is the unknown token, id 0, which also pads.
    With `is_split_into_words=True` each given word is standardised and cut by itself.

    Args:
        vocab: piece -> id, the marks of a classifier included.
        merges: pairs of pieces in their order.
        vocab_file, merges_file: the same as files, if they are not given.

    Raises:
        ModelError: a file is damaged, or spaCy or ftfy is absent.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE, "merges_file": MERGES_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab: Mapping[str, int] | None = None,
        merges: Sequence[tuple[str, str]] | None = None,
        vocab_file: str | os.PathLike[str] | None = None,
        merges_file: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if (package := missing_package()) is not None:
            raise ModelError(
                f"{package}, by which this model's text was cut into words, is not installed",
                remedy="pip install 'nlptl[gpt-tokens]'",
            )
        self._ids = read_vocabulary(vocab_file) if vocab is None else dict(vocab)
        self._merges = read_merges(merges_file) if merges is None else list(merges)
        self._pieces = {row: piece for piece, row in self._ids.items()}
        try:
            self._bpe = BPE(
                vocab=self._ids, merges=self._merges, end_of_word_suffix="</w>", unk_token=UNK, fuse_unk=False
            )
        except Exception as error:  # of Rust: a merge of pieces that the vocabulary lacks
            raise ModelError(
                f"the vocabulary and the merges do not fit ({error})",
                f"in {vocab_file or 'vocab'}",
                "use the files that belong together",
            ) from error
        if UNK not in self._ids:
            raise ModelError(f"the vocabulary lacks {UNK}", f"in {vocab_file or 'vocab'}", "use the original")
        kwargs.setdefault("unk_token", UNK)
        kwargs.setdefault("pad_token", UNK)
        kwargs["token_type_ids_pattern"] = "all_zeros"
        super().__init__(**kwargs)
        self._words: Tokenizer | None = None
        self._ids_of_word: dict[str, list[int]] = {}

    # -- text to ids

    def words(self, text: str) -> list[str]:
        """spaCy's words of the standardised text, not yet lower case; a line break is one."""
        from nlptl.families.gpt.standardisation import standardised

        if self._words is None or len(self._words.vocab.strings) > WORDS_REMEMBERED:
            import spacy

            self._words = spacy.blank("en").tokenizer
        assert self._words is not None
        return [token.text for token in self._words(_TOO_LONG.sub(r"\g<0> ", standardised(text)))]

    def text_ids(self, text: str) -> list[int]:
        """The ids of the pieces of `text`, without marks."""
        return [row for word in self.words(text) for row in self._word_ids(word)]

    def given_ids(self, words: Sequence[str]) -> list[int]:
        """The ids of words that are given as such, each cut by itself; white space is a line break or nothing."""
        # The standardisation strips a text, and so would take a line break that is a word of its own.
        return [
            row for word in words for row in (self._word_ids(word) if word.isspace() else self.text_ids(word))
        ]

    def _word_ids(self, word: str) -> list[int]:
        known = self._ids_of_word.get(word)
        if known is None:
            if word.isspace():
                known = [self._ids.get(LINE_BREAK, self._ids[UNK])] if "\n" in word else []
            else:
                known = [token.id for token in self._bpe.tokenize(word.lower())]
            if len(self._ids_of_word) >= WORDS_REMEMBERED:
                self._ids_of_word.clear()
            self._ids_of_word[word] = known
        return known

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:  # type: ignore[override]
        # Overridden whole: transformers would first cut the marks that a text spells out from it.
        return [self._pieces[row] for row in self.text_ids(text)]

    # -- the marks of a classifier

    def with_marks(self, *, extract: bool) -> GptPaperTokenizer:
        """As `tokenization.classifier_tokenizer` has it."""
        ids = dict(self._ids)
        for mark in (START, DELIMITER, EXTRACT):
            ids.setdefault(mark, len(ids))
        roles = {"sep_token": DELIMITER}
        if extract or self.bos_token == START:
            roles["bos_token"] = START
        if extract:
            roles["cls_token"] = EXTRACT
        return GptPaperTokenizer(ids, self._merges, model_max_length=self.model_max_length, **roles)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        ids = [*_mark(self.bos_token_id), *token_ids_0]
        if token_ids_1 is not None:
            ids += [*_mark(self.sep_token_id), *token_ids_1]
        return [*ids, *_mark(self.cls_token_id)]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        if already_has_special_tokens:
            marks = {self.bos_token_id, self.sep_token_id, self.cls_token_id}
            return [int(row in marks) for row in token_ids_0]
        mask = [*_ones(self.bos_token_id), *(0 for _ in token_ids_0)]
        if token_ids_1 is not None:
            mask += [*_ones(self.sep_token_id), *(0 for _ in token_ids_1)]
        return [*mask, *_ones(self.cls_token_id)]

    # -- the vocabulary

    @property
    def vocab_size(self) -> int:
        """Rows of the vocabulary."""
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def _update_total_vocab_size(self) -> None:
        self.total_vocab_size = len(self._ids)

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._ids[UNK])

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces.get(index, UNK)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Pieces put together again, a blank after each word."""
        return "".join(tokens).replace("</w>", " ").strip()

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, str]:
        vocabulary = json.dumps(self._ids, ensure_ascii=False) + "\n"
        merges = "".join(f"{line}\n" for line in ("#version: 0.2", *(f"{a} {b}" for a, b in self._merges)))
        paths = []
        for name, content in ((VOCABULARY_FILE, vocabulary), (MERGES_FILE, merges)):
            path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{name}"
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text(content, encoding="utf-8")
            os.replace(temporary, path)
            paths.append(str(path))
        return paths[0], paths[1]

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered is not part of what the tokenizer is: copies and hashes go without it.
        return {**self.__dict__, "_words": None, "_ids_of_word": {}}


def read_vocabulary(path: str | os.PathLike[str] | None) -> dict[str, int]:
    """The JSON object of a vocabulary: every id from 0 on, once.

    Raises:
        ModelError: it is something else, or absent.
    """
    where, remedy = f"in {path or VOCABULARY_FILE}", "use the original file"
    try:
        ids: dict[str, int] = json.loads(Path(path or "").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the vocabulary cannot be read ({error})", where, remedy) from error
    whole = isinstance(ids, dict) and all(type(row) is int for row in ids.values())
    if not whole or sorted(ids.values()) != list(range(len(ids))):
        raise ModelError("the vocabulary does not give each piece an id of its own from 0 on", where, remedy)
    return ids


def read_merges(path: str | os.PathLike[str] | None) -> list[tuple[str, str]]:
    """The pairs of a file of merges, after its line of the version.

    Raises:
        ModelError: a line is no pair, or the file is absent.
    """
    where, remedy = f"in {path or MERGES_FILE}", "use the original file"
    try:
        lines = Path(path or "").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ModelError(f"the merges cannot be read ({error})", where, remedy) from error
    return list(_pairs(lines, where, remedy))


def _pairs(lines: Iterable[str], where: str, remedy: str) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise ModelError(f"line {number} is no pair of pieces", where, remedy)
        yield pair[0], pair[1]


def _mark(row: int | None) -> list[int]:
    return [] if row is None else [row]


def _ones(row: int | None) -> list[int]:
    return [] if row is None else [1]
