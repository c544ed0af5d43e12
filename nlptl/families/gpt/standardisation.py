"""What GPT's authors did to a raw text before it was cut into words (`text_standardize` of their code)."""

from __future__ import annotations

import re

import ftfy

from nlptl.families.subword_tokenizer import without_surrogates

_ASCII = str.maketrans({"—": "-", "–": "-", "―": "-", "…": "...", "´": "'"})
# A run of one sign; the backslash, meant to be among them, is not in their expression as Python reads it.
_RUNS = re.compile("|".join(f"{re.escape(sign)}+" for sign in '-~!";?+,)(/*[]}{|_'))
_LINE_BREAK = re.compile(r"\s*\n\s*")
_BLANKS = re.compile(r"[^\S\n]+")


def standardised(text: str) -> str:
    """The text repaired by ftfy, typographic signs in ASCII, blanks around signs, white space collapsed.

    A line break, or several, is a blank, a line feed and a blank.
    """
    repaired: str = ftfy.fix_text(without_surrogates(text))
    spaced = _RUNS.sub(r" \g<0> ", repaired.translate(_ASCII))
    return _BLANKS.sub(" ", _LINE_BREAK.sub(" \n ", spaced)).strip()
