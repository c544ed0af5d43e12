"""The fast tokenizer of the GPT family, and how a language model's tokenizer becomes a classifier's.

`GptTokenizer` is a single `tokenizer.json`: byte-level BPE for models that are pretrained here, or the released
vocabulary as today's `transformers` pre-tokenises it. `GptPaperTokenizer` (see `paper_tokenization`) cuts text as the
released model was trained on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer
from transformers import OpenAIGPTTokenizer, PreTrainedTokenizerBase

from nlptl.families.gpt.paper_tokenization import (
    DELIMITER,
    EXTRACT,
    START,
    UNK,
    GptPaperTokenizer,
    missing_package,
)
from nlptl.families.subword_tokenizer import (
    SubwordTokenizer,
    template,
    train_byte_level_bpe,
)

PAD = "<pad>"
SPECIAL_TOKENS = (PAD, START)
ROLES = {"bos_token": START, "sep_token": DELIMITER, "cls_token": EXTRACT}
COMPARED_CHARACTERS = 2000  # of a text, by both tokenisations


class GptTokenizer(SubwordTokenizer):
    """Text becomes `_start_ A` where the vocabulary has the start token; see `classifier_tokenizer` for a classifier's.

    Make one with `train_gpt_tokenizer`, `fast_tokenizer` or `from_pretrained`.
    """


def train_gpt_tokenizer(texts: Iterable[str], vocab_size: int) -> GptTokenizer:
    """Learn a byte-level BPE from `texts`; see `train_byte_level_bpe`.

    The start token stands before each text of the corpus, and so between them. The delimiter and extract tokens come
    with a classifier.

    Raises:
        ConfigError: `vocab_size` has no place for the special tokens and all bytes.
    """
    return train_byte_level_bpe(
        GptTokenizer,
        texts,
        vocab_size,
        SPECIAL_TOKENS,
        single=f"{START} $A",
        pair=f"{START} $A {START} $B:1",
        roles={"pad_token": PAD, "bos_token": START},
    )


def fast_tokenizer(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> GptTokenizer:
    """The released vocabulary with the pre-tokenisation of `transformers`' `OpenAIGPTTokenizer`.

    Padding is the unknown token, id 0, as the original pads with 0.
    """
    native = OpenAIGPTTokenizer(vocab=dict(vocabulary), merges=list(merges))  # type: ignore[arg-type]
    return GptTokenizer(
        tokenizer_object=native.backend_tokenizer, unk_token=UNK, pad_token=UNK, split_special_tokens=True
    )


def classifier_tokenizer(tokenizer: PreTrainedTokenizerBase, *, extract: bool) -> PreTrainedTokenizerBase:
    """A language model's tokenizer with the marks of a classifier (Radford et al. 2018, section 3.3), as a new one.

    The marks that it lacks get the ids after its vocabulary's, in the order start, delimiter, extract.

    Args:
        extract: `_start_ A _classify_` and `_start_ A _delimiter_ B _classify_`. Without it the text is as the language
            model was trained on it, with the start token only where that had one, and a delimiter between a pair.
    """
    if isinstance(tokenizer, GptPaperTokenizer):
        return tokenizer.with_marks(extract=extract)
    begins = extract or tokenizer.bos_token == START
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    marks = (START, DELIMITER, EXTRACT)
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    start, end = f"{START} " if begins else "", f" {EXTRACT}" if extract else ""
    single, pair = f"{start}$A{end}", f"{start}$A {DELIMITER} $B:1{f'{end}:1' if end else ''}"
    backend.post_processor = template(single, pair, {mark: backend.token_to_id(mark) or 0 for mark in marks})
    backend.no_padding()
    backend.no_truncation()
    roles = {"pad_token": tokenizer.pad_token or UNK, "unk_token": tokenizer.unk_token, **ROLES}
    if not begins:
        del roles["bos_token"]
    if not extract:
        del roles["cls_token"]
    given = {role: token for role, token in roles.items() if token is not None}
    return GptTokenizer(tokenizer_object=backend, split_special_tokens=True, **given)


def tokenization_note(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> str | None:
    """A sentence where the released vocabulary cuts these texts otherwise than in its training; else None."""
    if not isinstance(tokenizer, (GptTokenizer, OpenAIGPTTokenizer)):
        return None
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model.get("end_of_word_suffix") != "</w>":
        return None  # a vocabulary learned here, by this very tokenizer
    if (package := missing_package()) is not None:
        return (
            f"this model was trained on words as spaCy and ftfy cut them; without {package} it cannot be told on how "
            "many of the texts the fast tokenizer differs: pip install 'nlptl[gpt-tokens]'"
        )
    paper = GptPaperTokenizer(model["vocab"], [tuple(merge) for merge in model["merges"]])
    sample = [text[:COMPARED_CHARACTERS] for text in texts]
    fast = tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"]
    unlike = sum(paper.text_ids(text) != ids for text, ids in zip(sample, fast, strict=True))
    if not unlike:
        return None
    return (
        f"{unlike} of {len(sample)} texts looked at are cut into other tokens than those that the model was trained "
        "with; `nlptl models import --from openai` makes a model that cuts them as its paper did"
    )
