"""Which language models a classifier starts from: one, or a forward and a backward one that belong together."""

from __future__ import annotations

import hashlib

from nlptl.config import FinetuneConfig
from nlptl.errors import ModelError, UsageError
from nlptl.pretrained.models import ModelFolder, find_model
from nlptl.training.progress import Reporter

VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "*.model")


def chosen_language_models(config: FinetuneConfig, reporter: Reporter | None = None) -> list[ModelFolder]:
    """The language model, and the backward one where it is named; both looked at before anything is loaded."""
    if config.model is None:
        raise UsageError(
            "--model is missing", "nlptl finetune", "name a language model that `nlptl pretrain` wrote"
        )
    sources = [find_model(config.model, offline=config.offline, reporter=reporter)]
    if config.backward_model is not None:
        sources.append(find_model(config.backward_model, offline=config.offline, reporter=reporter))
    names = (config.model, config.backward_model)
    for name, source in zip(names, sources, strict=False):
        if source.is_classifier:
            raise ModelError(
                "a classifier where a language model is due", name, "name what `nlptl pretrain` wrote"
            )
        if not source.has_tokenizer:
            raise ModelError(
                "a language model without a tokenizer", name, "import it again with its vocabulary"
            )
    if config.backward_model is not None:
        _check_pair(config.backward_model, *sources)
    return sources


def _check_pair(name: str, forward: ModelFolder, backward: ModelFolder) -> None:
    """A forward and a backward language model over one vocabulary.

    Raises:
        ModelError: they are not.
    """
    if not forward.family.reads_backward:
        cause = f"a model of the family {forward.family.name} has no backward companion"
        raise ModelError(cause, f"--backward-model {name}", "leave it out")
    if forward.family.name != backward.family.name:
        cause = f"a model of the family {backward.family.name} beside one of {forward.family.name}"
        raise ModelError(cause, f"--backward-model {name}", "name the backward model of the same family")
    for source, due in ((forward, "forward"), (backward, "backward")):
        found = source.config.get("direction")
        if found != due:
            raise ModelError(
                f"a {found} language model where the {due} one is due",
                str(source.path),
                "pretrain with --backward for --backward-model, without it for --model",
            )
    if _vocabulary(forward) != _vocabulary(backward):
        raise ModelError(
            "its tokenizer is not that of the forward model",
            name,
            "pretrain both on the same text with the same --vocab-size",
        )


def _vocabulary(source: ModelFolder) -> str:
    """A hash of the files that hold the tokenizer's vocabulary.

    Raises:
        ModelError: there is none.
    """
    files = sorted({file for pattern in VOCABULARY_FILES for file in source.path.glob(pattern)})
    if not files:
        raise ModelError(
            "no file of its tokenizer's vocabulary", str(source.path), "copy the model folder again"
        )
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            digest.update(file.name.encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
