"""What the tokenizers that look words up in a list share: texts, pairs and lists of words -> batches of ids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizer
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy


class WordListTokenizer(PreTrainedTokenizer):
    """A tokenizer whose family says what ids a text has; truncation, padding and batching are here."""

    @abstractmethod
    def text_ids(self, text: str) -> list[int]:
        """The ids of the words of `text`, without markers."""

    @abstractmethod
    def given_ids(self, words: Sequence[str]) -> list[int]:
        """The ids of words that are given as such."""

    def _item_ids(self, item: object, split_words: bool) -> list[int]:
        if split_words and isinstance(item, (list, tuple)) and all(isinstance(word, str) for word in item):
            return self.given_ids(item)
        if isinstance(item, str) and not split_words:
            return self.text_ids(item)
        kind = "list of words" if split_words else "string"
        raise ValueError(f"a text to tokenize is a {kind}, not {type(item).__name__} ({str(item)[:40]!r})")

    def _encode_plus(  # type: ignore[override]
        self,
        text: Any,
        text_pair: Any = None,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        truncation_strategy: TruncationStrategy = TruncationStrategy.DO_NOT_TRUNCATE,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        # transformers' own loops over tokens in Python and asks a method for each id, which would take longer than
        # finding the words; and it would cut again what is already split.
        batched = isinstance(text, (list, tuple)) and (
            not is_split_into_words or (len(text) > 0 and isinstance(text[0], (list, tuple)))
        )
        texts, pairs = (text, text_pair) if batched else ([text], [text_pair])
        if pairs is None:
            # An item can be a pair in itself, as transformers has it.
            of_two = tuple if is_split_into_words else (list, tuple)
            items = [item if isinstance(item, of_two) and len(item) == 2 else (item, None) for item in texts]
        elif isinstance(pairs, (list, tuple)) and len(pairs) == len(texts):
            items = list(zip(texts, pairs, strict=True))
        else:
            raise ValueError("text and text_pair are not batches of the same size")
        pad: dict[str, Any] = {
            "padding": padding_strategy.value,
            "max_length": max_length,
            "pad_to_multiple_of": pad_to_multiple_of,
            "padding_side": padding_side,
            "return_attention_mask": return_attention_mask is not False,
        }
        rows = [
            self.prepare_for_model(
                self._item_ids(first, is_split_into_words),
                None if second is None else self._item_ids(second, is_split_into_words),
                truncation=truncation_strategy.value,
                max_length=max_length,
                return_attention_mask=False,
                **kwargs,
            )
            for first, second in items
        ]
        if not rows:
            return BatchEncoding({name: [] for name in self.model_input_names}, tensor_type=return_tensors)
        if not batched and return_tensors is None:
            return self.pad(rows[0], **pad)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        if return_tensors is not None and not any(columns["input_ids"]):
            # Of no tokens at all there is no tensor of numbers.
            pad |= {"padding": "max_length", "max_length": 1}
        return self.pad(columns, return_tensors=return_tensors, **pad)
