"""Raw text -> words, as the treebank cuts them, for the families whose vocabulary is one of words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

MOST_COUNTED = 2_000_000  # different words; with their counts about 300 MB

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


def word_counts(texts: Iterable[Sequence[str]], on_note: Callable[[str], None]) -> Counter[str]:
    """How often each word occurs in texts that are cut into words, in bounded memory; in the order of first meeting.

    Where there are more different words than `MOST_COUNTED` (of logs each line may have its own), the rarest so far are
    forgotten, as in word2vec's program: a word that is met again is counted from one.

    Args:
        on_note: told how many were forgotten.
    """
    counts: Counter[str] = Counter()
    rare = forgotten = 0
    for words in texts:
        counts.update(words)
        while len(counts) > MOST_COUNTED:
            rare += 1
            before = len(counts)
            counts = Counter({word: count for word, count in counts.items() if count > rare})
            forgotten += before - len(counts)
    if forgotten:
        on_note(
            f"more than {MOST_COUNTED:,} different words in the text: {forgotten:,} that had occurred at most "
            f"{rare} time{'s' * (rare > 1)} by then were forgotten, and are counted anew where they occur again"
        )
    return counts
