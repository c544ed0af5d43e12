"""fastai's default text rules: what stands in a text before it is split into words, and the markers they leave.

The rules are those which ULMFiT's released vocabularies were counted with (fastai 2, `text.core`, default rules), in
their order, oddities included: `&amp;` becomes `&&`, only A to Z are capitals, `1,000` becomes `1, xxrep 3 0`.
"""

from __future__ import annotations

import html
import re

UNK, PAD, BOS, EOS, FLD = "xxunk", "xxpad", "xxbos", "xxeos", "xxfld"
REPEATED_CHARACTER, REPEATED_WORD, ALL_CAPITALS, CAPITALISED = "xxrep", "xxwrep", "xxup", "xxmaj"
RULE_MARKERS = frozenset({REPEATED_CHARACTER, REPEATED_WORD, ALL_CAPITALS, CAPITALISED})
SPECIAL_WORDS = (UNK, PAD, BOS, EOS, FLD, REPEATED_CHARACTER, REPEATED_WORD, ALL_CAPITALS, CAPITALISED)

# Remains of HTML and of tokenised corpora (WikiText's ` @-@ `), replaced one after the other.
_HTML_REMAINS = (
    ("#39;", "'"),
    ("amp;", "&"),
    ("#146;", "'"),
    ("nbsp;", " "),
    ("#36;", "$"),
    ("\\n", "\n"),
    ("quot;", "'"),
    ("<br />", "\n"),
    ('\\"', '"'),
    ("<unk>", UNK),
    (" @.@ ", "."),
    (" @-@ ", "-"),
    ("...", " …"),
)
_THREE_CHARACTERS = re.compile(r"(\S)\1{2,}")
_THREE_WORDS = re.compile(r"(?:\s|^)(\w+)\s+((?:\1\s+)+)\1(\s|\W|$)")
_SEPARATOR = re.compile(r"[/#\\]")
_BLANKS = re.compile(r" {2,}")
# A word in capitals, and one with a capital first letter; a blank or the text's border on either side.
_CAPITALS_WORD = re.compile(r"(?<!\S)[A-Z][^a-z\s]*(?!\S)")
_CAPITALISED_WORD = re.compile(r"(?<!\S)[A-Z][^A-Z\s]*(?!\S)")


def repair_html(text: str) -> str:
    """Undo HTML escapes and line breaks."""
    for remains, meant in _HTML_REMAINS:
        text = text.replace(remains, meant)
    return html.unescape(text)


def mark_repetitions(text: str, markers: frozenset[str] = RULE_MARKERS) -> str:
    """`!!!` as `xxrep 3 !`, then `no no no` as `xxwrep 3 no`: each where its marker is in `markers`."""
    if REPEATED_CHARACTER in markers:
        text = _THREE_CHARACTERS.sub(
            lambda run: f" {REPEATED_CHARACTER} {run.end() - run.start()} {run[1]} ", text
        )
    if REPEATED_WORD in markers:
        text = _THREE_WORDS.sub(
            lambda run: f" {REPEATED_WORD} {len(run[2].split()) + 2} {run[1]} {run[3]}", text
        )
    return text


def space_out(text: str) -> str:
    r"""Blanks around `/`, `#` and `\`, then no more than one blank at a time."""
    return _BLANKS.sub(" ", _SEPARATOR.sub(r" \g<0> ", text))


def mark_case(text: str, markers: frozenset[str] = RULE_MARKERS) -> str:
    """Lower case, with `xxup` before a word of capitals and `xxmaj` before one with a capital first letter.

    A single capital letter, and a capital after a quotation mark or a bracket, leave no marker.
    """
    if ALL_CAPITALS in markers:
        text = _CAPITALS_WORD.sub(lambda word: _lowered(word[0], ALL_CAPITALS), text)
    if CAPITALISED in markers:
        text = _CAPITALISED_WORD.sub(lambda word: _lowered(word[0], CAPITALISED), text)
    return text.lower()


def _lowered(word: str, marker: str) -> str:
    return f"{marker} {word.lower()}" if len(word) > 1 else word.lower()


def apply_rules(text: str, markers: frozenset[str] = RULE_MARKERS) -> str:
    """All rules in fastai's order, without the begin marker: lower-cased text, ready to be split into words.

    Args:
        markers: the rule markers that the vocabulary has; a rule whose marker it lacks would only write unknown
            words, and is left out.
    """
    return mark_case(space_out(mark_repetitions(repair_html(text), markers)), markers).strip()
