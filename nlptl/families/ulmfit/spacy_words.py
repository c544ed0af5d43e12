"""Text to words as fastai has it: its rules, then spaCy's English tokenizer; quickly, by remembering each chunk.

spaCy makes a `Doc` of each text, and with the rules that is less than a megabyte a second. But both its tokenizer and
nearly all of fastai's rules look at one white-space-delimited chunk at a time, and chunks recur: `SpacyWords` works
each one out once. Where the context of a chunk can matter, the whole text goes through the rules and spaCy instead,
so that the words are always the same.
"""

from __future__ import annotations

import operator
import re
from importlib.util import find_spec
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any

from nlptl.errors import ModelError
from nlptl.families.subword_tokenizer import without_surrogates
from nlptl.families.ulmfit.text_rules import (
    BOS,
    REPEATED_CHARACTER,
    REPEATED_WORD,
    RULE_MARKERS,
    SPECIAL_WORDS,
    apply_rules,
    mark_case,
    mark_repetitions,
    repair_html,
    space_out,
)

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer

STRINGS_REMEMBERED = 200_000  # in spaCy's tables, which otherwise only grow
LONGEST_CHUNK = 256  # characters, then it is cut: spaCy takes quadratic time over a chunk full of punctuation

_BLANKS = re.compile(r" {2,}")
# White space that spaCy keeps as a token: not the one blank after a word. (`strip` and the collapse of blanks before
# leave no other kind.)
_SPACE = re.compile(r"([^\S ]\s*)")
# Where a rule puts a blank in front; after white space that is kept, it becomes part of that.
_BLANK_IN_FRONT = re.compile(r"[/#\\]|(\S)\1\1")
# The last run of a chunk, `000` in `2000th`, if no more than letters follow it.
_LAST_RUN = re.compile(r".*(\S)\1\1(\w*)\Z")
_TOO_LONG = re.compile(rf"\S{{{LONGEST_CHUNK}}}(?=\S)")

Words = tuple[str, ...]


def require_spacy() -> None:
    """Raises ModelError, with what to install, if spaCy is absent."""
    if find_spec("spacy") is None:
        raise ModelError(
            "spaCy, which splits text into the words of this model's vocabulary, is not installed",
            remedy='pip install "nlptl[fastai-tokens]"',
        )


class SpacyWords:
    """Splits texts into words; what it remembers is bounded.

    Args:
        markers: the rule markers that the vocabulary has (see `apply_rules`).

    Raises:
        ModelError: spaCy is not installed.
    """

    def __init__(self, markers: frozenset[str] = RULE_MARKERS) -> None:
        self._markers = markers
        self._start_afresh()

    def __call__(self, text: str) -> list[str]:
        """The words of `text`, markers of the rules included, without the begin marker."""
        repaired = repair_html(without_surrogates(text))
        words = repaired.split()
        # Without two equal words in a row there are no three, and the slow search for them can be left out.
        repeated = any(map(operator.eq, words, islice(words, 1, None)))
        if repeated and REPEATED_WORD in mark_repetitions(repaired, self._markers):
            return self.of_whole_text(text)
        pieces = _SPACE.split(_BLANKS.sub(" ", repaired).strip())
        if len(pieces) == 1:
            chunks = words
        elif any(map(_BLANK_IN_FRONT.match, pieces[2::2])):
            return self.of_whole_text(text)
        else:
            chunks = [
                chunk
                for place, piece in enumerate(pieces)
                for chunk in ([piece] if place % 2 else piece.split())
            ]
        try:
            return list(chain.from_iterable(map(self._words_of_chunk.__getitem__, chunks)))
        except KeyError:
            self._bound_memory()
        split: list[Words] = []
        for chunk in chunks:
            learnt = self._words_of_chunk.get(chunk) or self._learn(chunk)
            if learnt is None:
                return self.of_whole_text(text)
            split.append(learnt)
        for place, chunk in enumerate(chunks):
            if chunk in self._unsure and self._context_matters(chunks, split, place):
                return self.of_whole_text(text)
        return list(chain.from_iterable(split))

    def of_whole_text(self, text: str) -> list[str]:
        """The same words by the rules and spaCy over the whole text: what `__call__` must equal, far slower."""
        self._bound_memory()
        ruled = apply_rules(without_surrogates(text), self._markers)
        if len(ruled) > LONGEST_CHUNK:
            ruled = _TOO_LONG.sub(r"\g<0> ", ruled)
        return self._spacy_words(f"{BOS} {ruled}")[1:]

    def _spacy_words(self, text: str) -> list[str]:
        # fastai writes blanks inside a token, which only tokens of white space have, as U+2581.
        return [token.text.replace(" ", "\u2581") for token in self._tokenizer(text)]

    def _learn(self, chunk: str) -> Words | None:
        """The words of `chunk`; None if they take the whole text to tell.

        Remembered in `_unsure`, if what stands around the chunk can change them, else in `_words_of_chunk`.
        """
        known = self._unsure.get(chunk)
        if known is not None or len(chunk) > LONGEST_CHUNK or REPEATED_CHARACTER in chunk:
            return known
        if chunk.isspace():
            words, sure = self._spacy_words(chunk), True
        else:
            words, sure = [], not _LAST_RUN.match(chunk)
            for part in mark_case(space_out(mark_repetitions(chunk, self._markers)), self._markers).split():
                if len(part) > LONGEST_CHUNK:
                    return None
                part_words, part_sure = self._split_part(part)
                words += part_words
                sure = sure and part_sure
        remembered = self._words_of_chunk if sure else self._unsure
        remembered[chunk] = tuple(words)
        return remembered[chunk]

    def _split_part(self, part: str) -> tuple[list[str], bool]:
        """The words of a chunk after the rules, and whether no other chunk can change them.

        spaCy's last pass looks for the exceptions (`e.g.`, `:-)`) in words already split, takes the longest match, and
        sees across blanks: a match that begins here and ends in the next chunk can stand in the way of one inside.
        """
        if part in self._exceptions:
            return self._spacy_words(part), True
        if part.isascii() and part.isalpha():
            return [part], True  # no affix of English is made of letters alone
        words = self._tokenizer(part)
        places = [(word.idx, word.idx + len(word)) for word in words]
        phrases = {
            (start, end)
            for first, (start, _) in enumerate(places)
            for _, end in places[first : first + self._longest_phrase]
            if part[start:end] in self._phrases
        }
        # What is one word already by its affixes (`film's`) was not made by that pass.
        sure = not phrases or phrases <= {
            (word.idx, word.idx + len(word)) for word in self._affixes_only(part)
        }
        return [word.text for word in words], sure

    def _context_matters(self, chunks: list[str], split: list[Words], place: int) -> bool:
        """Whether the chunks around an unsure one can change its words; rather too often than too seldom.

        Either its last run leaves a word of its own, `2000` as `2 xxrep 3 0`, and the same word "0" follows, so that
        it may be a repeated word; or a phrase can begin in one chunk and end in the next.
        """
        if run := _LAST_RUN.match(chunks[place]):
            word = run[2] or run[1]
            # The next chunk may be white space, so look at two.
            if any(after.startswith(word) for after in chunks[place + 1 : place + 3]):
                return True
        first_word, last_word = split[place][0], split[place][-1]
        before, after = chunks[place - 1 : place], chunks[place + 1 : place + 2]
        if any(chunk in self._unsure for chunk in before + after):
            return True
        return any((split[place - 1][-1], first_word[0]) in self._seams_before for _ in before) or any(
            (last_word[-1], split[place + 1][0]) in self._seams_after for _ in after
        )

    def _bound_memory(self) -> None:
        if len(self._tokenizer.vocab.strings) > STRINGS_REMEMBERED:
            self._start_afresh()

    def _start_afresh(self) -> None:
        """A new spaCy tokenizer, and nothing remembered."""
        require_spacy()
        import spacy
        from spacy.tokenizer import Tokenizer

        full: Any = spacy.blank("en").tokenizer
        for word in SPECIAL_WORDS:
            full.add_special_case(word, [{"ORTH": word}])
        self._tokenizer: Tokenizer = full
        self._affixes_only = Tokenizer(
            full.vocab,
            prefix_search=full.prefix_search,
            suffix_search=full.suffix_search,
            infix_finditer=full.infix_finditer,
            url_match=full.url_match,
        )
        self._exceptions: dict[str, object] = full.rules
        by_affixes = {text: [word.text for word in self._affixes_only(text)] for text in full.rules}
        # Those that affixes break up and the last pass mends; and where a chunk border can cut any it looks for.
        self._phrases = {
            text
            for text, words in by_affixes.items()
            if len(words) > 1 and words != [word.text for word in full(text)]
        }
        self._longest_phrase = max(map(len, self._phrases))
        seams = [seam for words in by_affixes.values() for seam in pairwise(words)]
        self._seams_before = {(left, right[0]) for left, right in seams}
        self._seams_after = {(left[-1], right) for left, right in seams}
        self._words_of_chunk: dict[str, Words] = {}
        self._unsure: dict[str, Words] = {}
