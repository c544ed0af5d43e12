"""Text -> words -> rows of a table of word vectors, and how the list of words is learned."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptl.errors import DataError, ModelError
from nlptl.families.word_list_tokenizer import WordListTokenizer
from nlptl.families.words import split_words, word_counts
from nlptl.families.wordvectors.configuration import PAD, SEP, SPECIAL_TOKENS, UNK

VOCABULARY_FILE = "vocab.json"
MIN_FREQUENCY = 3  # of a word that is given a vector


class WordVectorsTokenizer(WordListTokenizer):
    """Words as `split_words` cuts them, looked up in a list; a pair of texts becomes `A <sep> B`.

    A word that the list lacks is looked up in lower case, and then is `<unk>`. The special tokens come from the
    tokenizer alone: a text that spells one out gets `<unk>`. There are no markers of begin and end, so that an empty
    text has no tokens. `special_tokens_mask` marks `<sep>` and padding. Nothing is truncated unless asked for.

    With `is_split_into_words=True` each given word is one token.

    Args:
        vocab: the words, row by row, `SPECIAL_TOKENS` first. A word in several rows has the id of the first.
        vocab_file: a JSON list of the same, if `vocab` is not given.
        lowercase: fold letters before anything is looked up.

    Raises:
        ModelError: there is no vocabulary, or it is not a list of words that begins with the special tokens.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab: list[str] | None = None,
        vocab_file: str | os.PathLike[str] | None = None,
        lowercase: bool = False,
        **kwargs: Any,
    ) -> None:
        self._words = _read_words(vocab_file, kwargs) if vocab is None else _checked(vocab, "in vocab")
        self.lowercase = lowercase
        rows = range(len(self._words) - 1, len(SPECIAL_TOKENS) - 1, -1)
        self._ids = dict(zip(reversed(self._words[len(SPECIAL_TOKENS) :]), rows, strict=True))
        for row, word in enumerate(SPECIAL_TOKENS):
            self._ids.pop(word, None)
            kwargs[("pad_token", "unk_token", "sep_token")[row]] = word
        kwargs["token_type_ids_pattern"] = "all_zeros"
        super().__init__(lowercase=lowercase, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Rows of the table, special tokens and rows that repeat a word included."""
        return len(self._words)

    def get_vocab(self) -> dict[str, int]:
        return {**self._ids, **{word: row for row, word in enumerate(SPECIAL_TOKENS)}}

    def _update_total_vocab_size(self) -> None:
        self.total_vocab_size = len(self._words)  # counted without building the whole dictionary

    def text_ids(self, text: str) -> list[int]:
        """The ids of the words of `text`."""
        return self._look_up(split_words(text, lowercase=self.lowercase))

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:  # type: ignore[override]
        # Overridden whole: transformers would first cut the special tokens that a text spells out from it.
        return [self._words[row] for row in self.text_ids(text)]

    def _look_up(self, words: Iterable[str]) -> list[int]:
        known = self._ids
        return [known[word] if word in known else known.get(word.lower(), UNK) for word in words]

    def _convert_token_to_id(self, token: str) -> int:
        return SPECIAL_TOKENS.index(token) if token in SPECIAL_TOKENS else self._ids.get(token, UNK)

    def _convert_id_to_token(self, index: int) -> str:
        return self._words[index] if 0 <= index < len(self._words) else SPECIAL_TOKENS[UNK]

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return list(token_ids_0) if token_ids_1 is None else [*token_ids_0, SEP, *token_ids_1]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        if already_has_special_tokens:
            return [int(row in (PAD, SEP)) for row in token_ids_0]
        if token_ids_1 is None:
            return [0] * len(token_ids_0)
        return [*[0] * len(token_ids_0), 1, *[0] * len(token_ids_1)]

    def given_ids(self, words: Sequence[str]) -> list[int]:
        """The ids of words that are given as such."""
        return self._look_up([word.lower() for word in words] if self.lowercase else words)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{VOCABULARY_FILE}"
        temporary = path.with_name(path.name + ".tmp")
        # One word a line. A text, and so a word, may hold half of a surrogate pair.
        lines = json.dumps(self._words, ensure_ascii=False, separators=(",\n", ":"))
        temporary.write_bytes(f"{lines}\n".encode("utf-8", errors="surrogatepass"))
        os.replace(temporary, path)
        return (str(path),)


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, on_note: Callable[[str], None] = lambda note: None
) -> WordVectorsTokenizer:
    """Count the lower-cased words of `texts`, read once; the most frequent get a row, in that order.

    Args:
        vocab_size: rows, special tokens included. Words that occur less than `MIN_FREQUENCY` times get none.

    Raises:
        DataError: no word occurs as often as that.
    """
    counts = word_counts((split_words(text, lowercase=True) for text in texts), on_note)
    # Of equally frequent words the one that comes first goes first.
    by_count = sorted(counts, key=lambda word: -counts[word])
    words = [word for word in by_count if counts[word] >= MIN_FREQUENCY and word not in SPECIAL_TOKENS]
    if not words:
        cause = f"no word occurs {MIN_FREQUENCY} times"
        raise DataError(cause, "the language model's text", "give more text")
    return WordVectorsTokenizer([*SPECIAL_TOKENS, *words][:vocab_size], lowercase=True)


def _read_words(path: str | os.PathLike[str] | None, loading: Mapping[str, Any]) -> list[str]:
    remedy = "copy the model folder again"
    if path is None:
        where = str(loading.get("name_or_path") or "in vocab")
        raise ModelError(f"its tokenizer has no {VOCABULARY_FILE}", where, remedy)
    try:
        words = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the vocabulary cannot be read ({error})", f"in {path}", remedy) from error
    return _checked(words, f"in {path}")


def _checked(words: object, where: str) -> list[str]:
    if not isinstance(words, list) or set(map(type, words)) != {str}:
        raise ModelError("the vocabulary is not a list of words", where, "give a list of strings")
    if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        cause = f"the vocabulary does not begin with {', '.join(SPECIAL_TOKENS)}"
        raise ModelError(cause, where, "copy the model folder again")
    return words
