"""What the files of a model folder may be when nobody vouches for its maker; looked at before a library reads them.

The libraries behind a folder trust it more than this: they read a file of any size, follow links, let a config name
other files, classes and code to fetch, and run any pattern over a text. What a model of ours needs is far less, and
anything beyond it is refused.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from nlptl.errors import ModelError
from nlptl.families.subword_tokenizer import REPLACED

DISTRUST = "do not trust this folder; get the model from its makers"
READ_AS_TEXT = (".json", ".txt", ".jinja", ".model")
MOST_BYTES = 128 * 2**20  # of such a file; the longest word lists published are half as long
MOST_CONFIG_BYTES = 64 * 2**20  # room for the names of a million labels
# Keys by which transformers would fetch code or kernels, or hand the weights to another library.
FOREIGN_KEYS = (
    "auto_map",
    "trust_remote_code",
    "quantization_config",
    "use_kernels",
    "device_map",
    "fusion_config",
)
UNICODE_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
NORMALIZERS = ("Sequence", "Replace", "Lowercase", "Strip", "StripAccents", "BertNormalizer", *UNICODE_FORMS)
PRE_TOKENIZERS = ("Sequence", "ByteLevel", "BertPreTokenizer", "WhitespaceSplit")


def check_files(folder: Path) -> None:
    """Each file that may be read is a file of bounded size, which lies in the folder.

    The Hub's cache keeps a folder's files beside it as `blobs` and links to them. Weights may lie elsewhere: they are
    read as numbers and as nothing else.

    Raises:
        ModelError: one does not.
    """
    if (folder / "adapter_config.json").exists():
        cause = "an adapter, which asks for another model's weights"
        raise ModelError(cause, str(folder / "adapter_config.json"), "merge it into a model of its own")
    homes = (folder.resolve(), folder.resolve().parent.parent / "blobs")
    for file in _read_files(folder):
        try:
            about = file.stat()
        except OSError as error:  # a link to nowhere, or in a circle
            raise ModelError(
                f"cannot be read ({error.strerror})", str(file), "copy the model again"
            ) from None
        if not stat.S_ISREG(about.st_mode):
            raise ModelError("no regular file", str(file), DISTRUST)
        if file.name == "model.safetensors":
            if about.st_size > _memory():
                cause = f"weights of {about.st_size:,} bytes, more than this machine has memory"
                raise ModelError(cause, str(file), "use a larger machine")
            continue
        if not any(file.resolve().is_relative_to(home) for home in homes):
            raise ModelError("a link that leads out of the folder", str(file), "put the file itself there")
        most = MOST_CONFIG_BYTES if file.name == "config.json" else MOST_BYTES
        if about.st_size > most:
            raise ModelError(f"{about.st_size:,} bytes, more than {most:,}", str(file), DISTRUST)


def _memory() -> float:
    """Bytes of memory of this machine; infinite where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _read_files(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.name == "model.safetensors" or entry.name.endswith(READ_AS_TEXT):
            yield Path(entry.path)
    templates = folder / "additional_chat_templates"
    if templates.exists():
        raise ModelError("templates of chats, which no model here holds", str(templates), "remove them")


def read_object(file: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        ModelError: it does not.
    """
    try:
        # Numbers of thousands of digits and thousands of brackets end in a ValueError and a RecursionError.
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        raise ModelError("not a JSON file", str(file), "copy the model folder again") from None
    if not isinstance(found, dict):
        raise ModelError("it holds no JSON object", str(file), "copy the model folder again")
    return found


def check_config(config: Mapping[str, Any], file: Path, longest: int) -> None:
    """A config asks for nothing but a model, of no more classes than its weights can have.

    Args:
        longest: the largest number of rows or columns of any tensor of the model.

    Raises:
        ModelError: it does.
    """
    check_keys(config, file)
    # transformers makes up a name for each class when there are none, whatever their number.
    for count in (config.get("num_labels"), *_lengths(config.get("id2label"), config.get("label2id"))):
        if isinstance(count, (int, float)) and count > max(2, longest):
            raise ModelError(f"{count:,} labels for weights of no such size", str(file), DISTRUST)


def _lengths(*values: object) -> Iterator[int]:
    yield from (len(value) for value in values if isinstance(value, (dict, list)))


def check_keys(config: Mapping[str, Any], file: Path) -> None:
    """Neither config of a folder names code, another file, or another library.

    Raises:
        ModelError: one does.
    """
    for key, value in config.items():
        foreign = key in FOREIGN_KEYS or "_implementation" in key or key.endswith(("_file", "_files"))
        if foreign and value not in (None, False):
            raise ModelError(
                f"refused: it sets {key[:80]!a}, which a model here has no use for", str(file), DISTRUST
            )


def check_tokenizer_files(folder: Path, classes: Collection[str]) -> None:
    """A tokenizer is of a class of its family, and runs no pattern that may take for ever.

    Args:
        classes: names of the family's tokenizers.

    Raises:
        ModelError: it is not, or does.
    """
    for name in ("tokenizer_config.json", "config.json"):
        if (folder / name).is_file():
            config = read_object(folder / name)
            check_keys(config, folder / name)
            kind = config.get("tokenizer_class")
            if kind is not None and kind not in classes:
                cause = f"a tokenizer of the class {str(kind)[:80]!a}"
                raise ModelError(cause, str(folder / name), f"its family has {', '.join(classes)}")
    if (folder / "tokenizer.json").is_file():
        file = folder / "tokenizer.json"
        pipeline = read_object(file)
        for part, known in (("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS)):
            for step in _steps(pipeline.get(part)):
                if not _is_known(step, known):
                    raise ModelError(f"its {part} is none of a family here", str(file), DISTRUST)


def _steps(part: Any) -> Iterator[Any]:
    """The steps of a normaliser or pre-tokeniser, those within others too."""
    if part is not None:
        yield part
        for within in ("normalizers", "pretokenizers"):
            inner = part.get(within) if isinstance(part, dict) else None
            for step in inner if isinstance(inner, list) else ():
                yield from _steps(step)


def _is_known(step: Any, known: Collection[str]) -> bool:
    """A pattern of anybody's own can take time or room without end, so that only ours are run."""
    if not isinstance(step, dict) or step.get("type") not in known:
        return False
    pattern = step.get("pattern")
    if step["type"] != "Replace":
        return pattern is None
    return isinstance(pattern, dict) and (pattern.get("Regex"), step.get("content")) in REPLACED
