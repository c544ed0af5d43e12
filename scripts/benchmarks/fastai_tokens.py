"""Raw text to tokens: fastai's spaCy tokenisation with its rules in two processes, beside nlptl's two tokenizers.

The texts are read from memory; MB are of their UTF-8. nlptl goes the way of `pretrain`: `tokenise_corpus` with the
ULMFiT family's encoder, to ids in a file, its vocabulary learnt before; words (fastai's own) in one process, subwords
in threads over all cores. Each measurement starts afresh and begins with nothing remembered. `agreement` in the JSON
is the share of texts that get the very same words from both. Memory is that of the process itself, without fastai's
workers.

needs: pip install ".[benchmarks]"
usage: python scripts/benchmarks/fastai_tokens.py --data TEXTS --output tokens.json [--megabytes 20] [--rounds 5]
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

FASTAI = "fastai, spaCy"
SYSTEMS = (
    System(FASTAI, {"system": "fastai"}, FASTAI),
    System("nlptl, fastai's words", {"system": "word"}, FASTAI),
    System("nlptl, subwords", {"system": "subword"}, FASTAI),
)
LEARNT_FROM, VOCABULARY = 2_000_000, {"word": 60000, "subword": 8000}  # characters, tokens


def prepared(data: str, megabytes: float, file: str, folder: str) -> Figures:
    """Write the first so many MB of the texts, and a tokenizer of each kind learnt from their beginning."""
    from nlptl.data.lm_text import LmText, find_lm_text
    from nlptl.families.ulmfit.family import UlmfitFamily

    texts, left = [], megabytes * 1e6
    for text in find_lm_text([data], offline=True):
        texts.append(text)
        left -= len(text.encode())
        if left <= 0:
            break
    Path(file).write_text(json.dumps(texts), encoding="utf-8")
    sample = list(LmText((), at_hand=texts).sample(LEARNT_FROM))
    for kind, size in VOCABULARY.items():
        UlmfitFamily().train_tokenizer(kind, sample, size).save_pretrained(Path(folder) / kind)
    return {"texts": len(texts), "MB": sum(len(text.encode()) for text in texts) / 1e6}


def read(file: str) -> list[str]:
    """The texts."""
    texts: list[str] = json.loads(Path(file).read_text(encoding="utf-8"))
    return texts


def tokenisation(system: str, file: str, folder: str, workers: int) -> Figures:
    """MB of text a second, and MiB at the peak."""
    texts = read(file)
    size = sum(len(text.encode()) for text in texts) / 1e6
    seconds = by_fastai(texts, workers) if system == "fastai" else by_nlptl(texts, Path(folder) / system)
    return {"speed": size / seconds, "memory": peak_memory()}


def by_fastai(texts: list[str], workers: int) -> float:
    """Seconds of what `TextDataLoaders` does to its texts before it numericalises them."""
    from fastai.text.all import tokenize_texts

    began = time.monotonic()
    tokenize_texts(texts, n_workers=workers)
    return time.monotonic() - began


def by_nlptl(texts: list[str], tokenizer: Path) -> float:
    """Seconds of what `nlptl pretrain` does to its texts, ids included."""
    from transformers import AutoTokenizer

    import nlptl
    from nlptl.data.corpora import tokenise_corpus
    from nlptl.families.ulmfit.family import UlmfitFamily

    nlptl.register_families()
    encoder = UlmfitFamily().corpus_encoder(AutoTokenizer.from_pretrained(tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        tokenise_corpus(texts, encoder, Path(folder) / "corpus")
        return time.monotonic() - began


def agreement(file: str, folder: str, texts: int) -> Figures:
    """The share of texts with the same words from both, and the first in which they differ."""
    from fastai.text.all import tokenize_texts
    from transformers import AutoTokenizer

    import nlptl

    nlptl.register_families()
    some = read(file)[:texts]
    tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "word")
    theirs = [list(words) for words in tokenize_texts(some, n_workers=0)]
    ours = [[tokenizer.bos_token, *tokenizer.words(text)] for text in some]
    apart = [number for number, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1]]
    found: Figures = {"texts": len(some), "the same words": 1 - len(apart) / len(some)}
    for number in apart[:3]:
        both = zip(theirs[number], ours[number], strict=False)
        place = next((place for place, pair in enumerate(both) if pair[0] != pair[1]), 0)
        around = slice(max(0, place - 3), place + 4)
        found[f"text {number}"] = {"fastai": theirs[number][around], "nlptl": ours[number][around]}
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--data", required=True, help="text files or a data set with a column of texts")
    parser.add_argument("--megabytes", type=float, default=20.0, help="of text; 20 by default")
    parser.add_argument("--workers", type=int, default=2, help="fastai's processes; 2 by default")
    parser.add_argument("--compared", type=int, default=2000, help="texts to compare the words of")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = {"file": str(Path(folder) / "texts.json"), "folder": folder}
        texts = in_child(prepared, data=options.data, megabytes=options.megabytes, **place)
        if "failed" in texts:
            parser.error(texts["failed"])
        agreed = in_child(agreement, texts=options.compared, **place)
        print(f"agreement: {json.dumps(agreed)}\n", flush=True)
        name = f"{texts['MB']:.3g} MB of text"
        job = Job(name, "MB a second", tokenisation, {**place, "workers": options.workers}, SYSTEMS)
        compare([job], options, packages=["fastai", "spacy", "tokenizers"], texts=texts, agreement=agreed)


if __name__ == "__main__":
    main()
