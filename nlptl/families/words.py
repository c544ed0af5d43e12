"""Raw text -> words, as the treebank cuts them, for the families whose vocabulary is one of words."""

from __future__ import annotations

import re

# A contraction is cut as the Penn Treebank does it (do | n't, it | 's); words with hyphens, numbers with commas and
# points, initials and runs of points or dashes stay whole; any other sign is a word by itself.
_WORD = re.compile(
    r"""
      [^\W\d_]+(?=n['’]t\b)                     # the "do" of don't
    | n['’]t\b
    | ['’](?:s|re|ve|ll|d|m)\b
    | (?:[^\W\d_]\.){2,}                        # u.s.
    | (?:mr|mrs|ms|dr|st|vs)\.(?=\s)
    | \d+(?:[.,:]\d+)*\w*(?:-\w+)*               # 1,000.50, 1980s and 85-minute
    | \w+(?:-\w+)*(?:['’](?!(?:s|re|ve|ll|d|m|t)\b)\w+)*
    | \.{2,} | -{2,} | !{2,} | \?{2,}
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What markup and treebanks write for a line break, brackets, a slash and quotation marks.
_ESCAPES = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}
_ESCAPES |= {"\\/": "/", "\\*": "*", "``": '"', "''": '"'}
_ESCAPED = re.compile("|".join(map(re.escape, _ESCAPES)) + r"|<br\s*/?>", re.IGNORECASE)


def split_words(text: str, *, lowercase: bool = False) -> list[str]:
    """The words of a raw text; text that is cut into words already stays as it is, but for treebank escapes.

    Args:
        lowercase: fold letters to lower case.
    """
    plain = _ESCAPED.sub(lambda found: _ESCAPES.get(found[0].lower(), " "), text)
    words: list[str] = _WORD.findall(plain.lower() if lowercase else plain)
    return words
