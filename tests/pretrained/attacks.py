# ruff: noqa: E501 - a row of the table is a line
"""Models and checkpoints of strangers who mean harm, and the one line that each is refused with."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from tests.bad_input.making import MARKER
from tests.releases import elmo_options, elmo_release, gpt_release

MANY = 10**7
HUGE = 3 << 30  # bytes, of holes
DEEP = "[" * 200_000 + "]" * 200_000
EVIL = f"open({MARKER!r}, 'w')\nfrom transformers import *\nclass C(PreTrainedConfig): pass\nclass T(PreTrainedTokenizerFast): pass\n"
CODE = {
    "AutoConfig": "evil.C",
    "AutoModelForSequenceClassification": "evil.C",
    "AutoTokenizer": ["evil.T", "evil.T"],
}
Damage = Callable[[Path], object]


class Attack(NamedTuple):
    """Its name, the model it is made of (or none), what is done to it, and what is said of it."""

    id: str
    source: str
    damage: Damage
    message: str
    line: str = "predict --model m t.csv"


def changed(name: str, **values: Any) -> Damage:
    """A JSON file with these keys."""

    def damage(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**found, **values}))

    return damage


def config(**values: Any) -> Damage:
    return changed("config.json", **values)


def told(**values: Any) -> Damage:
    return changed("tokenizer_config.json", **values)


def written(name: str, content: str | bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(
        content.encode() if isinstance(content, str) else content
    )


def stretched(name: str, size: int = HUGE) -> Damage:
    """A file of this size that takes no room on the disk."""

    def damage(folder: Path) -> None:
        with open(folder / name, "ab") as file:
            file.truncate(size)

    return damage


def linked(name: str, target: str) -> Damage:
    return lambda folder: ((folder / name).unlink(missing_ok=True), (folder / name).symlink_to(target))


def piped(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(missing_ok=True), os.mkfifo(folder / name))


def header(change: Callable[[dict[str, Any]], object]) -> Damage:
    """The weights with another header."""

    def damage(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        found = json.loads(content[8 : 8 + length])
        change(found)
        head = json.dumps(found).encode()
        (folder / "model.safetensors").write_bytes(
            struct.pack("<Q", len(head)) + head + content[8 + length :]
        )

    return damage


def each(**values: Any) -> Damage:
    """Every tensor with other facts."""
    return header(
        lambda found: [entry.update(values) for key, entry in found.items() if key != "__metadata__"]
    )


def overlapping(found: dict[str, Any]) -> None:
    """The first tensor of a size twice, in the place of the last of this size too."""
    del found["__metadata__"]
    by_shape: dict[str, str] = {}
    for name, entry in found.items():
        entry["data_offsets"] = found[by_shape.setdefault(str(entry["shape"]), name)]["data_offsets"]


def pipeline(part: str, step: dict[str, Any]) -> Damage:
    return changed("tokenizer.json", **{part: step})


def replacing(pattern: str, content: str, times: int = 1) -> Damage:
    step = {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
    return pipeline("normalizer", {"type": "Sequence", "normalizers": [step] * times})


def code(folder: Path) -> None:
    written("evil.py", EVIL)(folder)
    config(auto_map=CODE)(folder)


def tokenizer_code(folder: Path) -> None:
    written("evil.py", EVIL)(folder)
    told(auto_map=CODE, tokenizer_class="T")(folder)


def far_tokens(folder: Path) -> None:
    found = json.loads((folder / "tokenizer.json").read_text())
    token = next(iter(found["model"]["vocab"]))
    found["model"]["vocab"][token] = 99_999
    (folder / "tokenizer.json").write_text(json.dumps(found))


def compressed(folder: Path) -> None:
    """Gigabytes of zeros in a file of kilobytes, and options that ask for them."""
    elmo_release(folder)
    cells = 10**9
    (folder / "o.json").write_text(json.dumps(elmo_options(lstm={"dim": cells})))
    with h5py.File(folder / "w.hdf5", "a") as data:
        for direction in (0, 1):
            for layer in (0, 1):
                cell = data[f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"]
                for name, shape in (("W_0", (6, 4 * cells)), ("B", (4 * cells,)), ("W_P_0", (cells, 3))):
                    del cell[name]
                    chunks = tuple(min(size, 4096) for size in shape)
                    made = cell.create_dataset(name, shape, "float32", chunks=chunks, compression="gzip")
                    made[tuple(slice(0, size) for size in chunks)] = 1.0


def numbers(head: bytes) -> Damage:
    """OpenAI's release with another header of a piece."""

    def damage(folder: Path) -> None:
        gpt_release(folder / "r")
        magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head))
        (folder / "r" / "params_3.npy").write_bytes(magic + head)

    return damage


def laughing(folder: Path) -> None:
    """A list of ten lists, each of the same ten lists, and so on: a billion words, if anybody counted them."""
    words: list[Any] = ["ha"]
    for _ in range(30):
        words = [words] * 10
    (folder / "v.pkl").write_bytes(pickle.dumps(words))
    (folder / "w.pth").write_bytes(b"x")


def listed_in_holes(folder: Path) -> None:
    """A torch file whose list of tensors is as long as a hole in it."""
    with (
        zipfile.ZipFile(folder / "w.pth", "w") as archive,
        archive.open("m/data.pkl", "w", force_zip64=True) as entry,
    ):
        for _ in range(96):
            entry.write(bytes(2**20))


LINKS = "a link that leads out of the folder, m/.*; put the file itself there"
TENSORS = "its config makes no model .it asks for far more tensors than its weights have., m/config.json; .*"
LARGE = "3,221,225,472 bytes, more than .*, m/.*; do not trust this folder.*"
KEYS = "refused: it sets .* a model here has no use for, m/.*; do not trust this folder.*"
DAMAGED = "damaged or cut short, m/model.safetensors; .*"
NO_JSON = "not a JSON file, m/.*; copy the model folder again"
STEPS = "its .* is none of a family here, m/tokenizer.json; do not trust this folder.*"
ALLENNLP = "models import --from allennlp --weights m/w.hdf5 --options m/o.json -o out"
OPENAI = "models import --from openai --directory m/r --heads 2 -o out"
FASTAI = "models import --from fastai --weights m/w.pth -o out"

SIZES = [
    Attack("a GPT of ten million layers", "gpt", config(n_layer=MANY), TENSORS),
    Attack("an ULMFiT of ten million layers", "ulmfit", config(num_layers=MANY), TENSORS),
    Attack("an ELMo of ten million layers", "elmo", config(num_layers=MANY), TENSORS),
    Attack("ten million highways", "elmo", config(highway_layers=MANY), TENSORS),
    Attack("ten million encoder layers", "transformer", config(num_encoder_layers=MANY), TENSORS),
    Attack("ten million labels without names", "gpt", config(num_labels=MANY, id2label=None, label2id=None), "10,000,000 labels for weights of no such size, m/config.json; .*"),
    Attack("a table of more words than atoms", "wordvectors", config(vocab_size=10**20), ".*, m(/config.json)?; .*"),
    Attack("a billion places", "gpt", config(n_positions=10**9), "the tensor .* has the shape .*, m; .*"),
    Attack("a trillion n-grams", "gpt", config(ngrams=10**12), r"its config makes no model \(it asks for more than .*, m/config.json; .*"),
    Attack("n-grams of a billion tokens", "ulmfit", config(ngrams=3, longest_ngram=10**9), r"its config makes no model \(.*longest_ngram.*, m/config.json; .*"),
    Attack("n-grams that are not there", "wordvectors", config(ngrams=3), "the tensor 'ngrams.bias' is missing .*, m; .*"),
    Attack("a width of billions", "gpt", config(n_embd=2 * 10**9), ".*, m(/config.json)?; .*"),
]  # fmt: skip
FILES = [
    *(Attack(f"a huge {name}", source, stretched(name), LARGE) for name, source in (("config.json", "gpt"), ("tokenizer.json", "gpt"), ("tokenizer_config.json", "ulmfit"), ("special_tokens_map.json", "gpt"), ("vocab.json", "elmo"), ("vocab.json", "wordvectors"), ("chat_template.jinja", "gpt")) ),
    *(Attack(f"a deep {name}", source, written(name, '{"a": ' + DEEP + "}"), f"{NO_JSON}|its tokenizer cannot be read .*|the vocabulary cannot be read .*") for name, source in (("config.json", "gpt"), ("tokenizer.json", "gpt"), ("tokenizer_config.json", "elmo"), ("vocab.json", "elmo")) ),
    Attack("a number of five thousand digits", "gpt", written("config.json", '{"model_type": "nlptl-gpt", "n_layer": ' + "9" * 5000 + "}"), NO_JSON),
    Attack("a config elsewhere", "gpt", linked("config.json", "/etc/passwd"), LINKS),
    Attack("words elsewhere", "elmo", linked("vocab.json", "/etc/passwd"), LINKS),
    Attack("merges elsewhere", "gpt", linked("merges.txt", "/etc/passwd"), LINKS),
    Attack("a link in a circle", "gpt", linked("tokenizer.json", "tokenizer.json"), "cannot be read .*, m/tokenizer.json; .*"),
    Attack("a device for words", "elmo", linked("vocab.json", "/dev/zero"), "no regular file, m/vocab.json; .*" ),
    Attack("a pipe that nobody fills", "gpt", piped("special_tokens_map.json"), "no regular file, m/special_tokens_map.json; .*"),
]  # fmt: skip
WEIGHTS = [
    Attack("a header of 2^60 bytes", "gpt", written("model.safetensors", struct.pack("<Q", 2**60) + b"{}"), DAMAGED),
    Attack("a deep header", "gpt", written("model.safetensors", struct.pack("<Q", len(DEEP)) + DEEP.encode()), DAMAGED),
    Attack("weights of holes", "gpt", stretched("model.safetensors", 1 << 42), "weights of 4,398,046,511,104 bytes, more than this machine has memory, .*"),
    Attack("weights with a tail of holes", "gpt", stretched("model.safetensors", 1 << 30), DAMAGED),
    Attack("tensors over one another", "gpt", header(overlapping), DAMAGED),
    Attack("tensors larger than their bytes", "gpt", each(data_offsets=[0, 4]), DAMAGED),
    Attack("tensors before the file", "gpt", each(data_offsets=[-4, 0]), DAMAGED),
    Attack("numbers of half their size", "gpt", each(dtype="F16"), DAMAGED),
    Attack("numbers of no kind", "gpt", each(dtype="OBJECT"), DAMAGED),
    Attack("whole numbers for weights", "gpt", each(dtype="I32"), DAMAGED),
    Attack("sizes that are none", "gpt", each(shape=["a", 1.5, None]), DAMAGED),
]  # fmt: skip
CODES = [
    Attack("code for a model", "gpt", code, KEYS),
    Attack("code for a tokenizer", "gpt", tokenizer_code, KEYS),
    Attack("code for words", "elmo", tokenizer_code, KEYS),
    Attack("trust as the config asks for it", "gpt", config(trust_remote_code=True), KEYS),
    Attack("a kernel to fetch", "gpt", config(attn_implementation="evil/kernel"), KEYS),
    Attack("a kernel, under its other name", "gpt", config(_attn_implementation="evil/kernel"), KEYS),
    Attack("a quantizer", "gpt", config(quantization_config={"quant_method": "gptq"}), KEYS),
    Attack("an adapter of another model", "gpt", written("adapter_config.json", '{"base_model_name_or_path": "/etc"}'), "an adapter, which .*, m/adapter_config.json; .*"),
    Attack("a tokenizer of another class", "gpt", told(tokenizer_class="BertJapaneseTokenizer"), "a tokenizer of the class 'BertJapaneseTokenizer', m/tokenizer_config.json; its family has .*"),
    Attack("a tokenizer of a path", "gpt", told(tokenizer_class="../evil"), "a tokenizer of the class .*"),
    Attack("a vocabulary elsewhere", "elmo", told(vocab_file="/etc/passwd"), KEYS),
    Attack("a tokenizer elsewhere", "gpt", told(tokenizer_file="/etc/passwd"), KEYS),
    Attack("other files by version", "gpt", told(fast_tokenizer_files=["../../tokenizer.9.json"]), KEYS),
]  # fmt: skip
TOKENS = [
    Attack("a pattern that takes for ever", "gpt", replacing("(x+x+)+y|(a+)+$", ""), STEPS),
    Attack("a text that swells", "gpt", replacing(".", ".." * 5, times=12), STEPS),
    Attack("a cut that takes for ever", "gpt", pipeline("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}), STEPS),
    Attack("a token far beyond the rows", "gpt", far_tokens, "its tokenizer has 100000 tokens and its model rows for .*, m; .*"),
]  # fmt: skip
CHECKPOINTS = [
    Attack("zeros that were compressed", "", compressed, "the numbers of .* were never written, in m/w.hdf5; .*", ALLENNLP),
    Attack("a piece of exabytes", "", numbers(b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,)}\n"), "not a file of numbers, in m/r/params_3.npy; .*", OPENAI),
    Attack("a piece that is an expression", "", numbers(b"__import__('os').mkdir('" + MARKER.encode() + b"')\n"), "not a file of numbers, in m/r/params_3.npy; .*", OPENAI),
    Attack("words without number", "", laughing, ".*, in m/(v.pkl|w.pth); .*", FASTAI + " --vocab m/v.pkl"),
    Attack("a list of tensors in holes", "", listed_in_holes, "damaged, or not a torch checkpoint .its list of tensors is too long., .*", FASTAI),
    Attack("a line without end", "", written("v", gzip.compress(b"the 1 2\n" + bytes(2**26))), "no end within 1,048,576 bytes, line 2 of m/v; .*", "models import --from glove --weights m/v -o out"),
    Attack("a header of a long number", "", written("v", "1" * 5000 + " 3\n"), "a header of a number without end, line 1 of m/v; .*", "models import --from word2vec --weights m/v -o out"),
]  # fmt: skip
ATTACKS = [*SIZES, *FILES, *WEIGHTS, *CODES, *TOKENS, *CHECKPOINTS]
