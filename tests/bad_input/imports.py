# ruff: noqa: E501 - a row of the table is a line
"""Checkpoints of other systems that cannot become a model of ours."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from tests.bad_input.making import MarksAFile, Prepare, Row, file, made_by_torch, several
from tests.releases import elmo_options, elmo_release, elmo_weights, fastai_language_model, word2vec_binary

BILLION = 10**9
CELL = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell"
MEND = "; give the unchanged files of the release"
OTHER = "; give the options.json that belongs to the file"
AGAIN = "; download the file again"
IM = "models import --from fastai -o out --weights "
IA = "models import --from allennlp --weights w.hdf5 --options o.json -o out "
IW = "models import --from word2vec --weights v -o out "
IG = "models import --from glove --weights v -o out "


def release(change: Callable[[Path], object]) -> Prepare:
    """ELMo's two files, then changed."""

    def prepare(folder: Path, good: dict[str, Path]) -> None:
        elmo_release(folder)
        change(folder)

    return prepare


def options(text: str) -> Prepare:
    return release(lambda folder: (folder / "o.json").write_text(text))


def lstm(**values: Any) -> Prepare:
    return options(json.dumps(elmo_options(lstm=values)))


def char_cnn(**values: Any) -> Prepare:
    return options(json.dumps(elmo_options(char_cnn=values)))


def weights(change: Callable[[h5py.File], object]) -> Prepare:
    def damage(folder: Path) -> None:
        with h5py.File(folder / "w.hdf5", "a") as data:
            change(data)

    return release(damage)


def instead(name: str, make: Callable[[h5py.File], object]) -> Prepare:
    """Another thing of a data set's name."""

    def damage(data: h5py.File) -> None:
        del data[name]
        make(data)

    return weights(damage)


def kept_elsewhere(data: h5py.File) -> None:
    data.create_dataset("CNN_proj/b_proj", (3,), "float32", external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])


def promised(folder: Path) -> None:
    """Room for terabytes in a file of a few kilobytes, and options that ask for them."""
    (folder / "o.json").write_text(json.dumps(elmo_options(lstm={"dim": BILLION})))
    with h5py.File(folder / "w.hdf5", "a") as data:
        for direction in (0, 1):
            for layer in (0, 1):
                cell = data[f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"]
                for name, shape in (
                    ("W_0", (6, 4 * BILLION)),
                    ("B", (4 * BILLION,)),
                    ("W_P_0", (BILLION, 3)),
                ):
                    del cell[name]
                    cell.create_dataset(name, shape, "float32", chunks=tuple(min(n, 1024) for n in shape))


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "the 1 2\n")
    return packed.getvalue()


VECTORS = {"the": [0.5, -1.0, 2.0], "film": [1.0, 2.0, 3.0]}
GLOVE = "the 0.5 -1 2\nfilm 1 2 3\n"

FASTAI = [
    Row("malicious weights", IM + "w.pth", "refused: .*posix.system, in w.pth; weights run nothing.*", made_by_torch("w.pth", {"a": MarksAFile()})),
    Row("malicious vocabulary", IM + "w.pth --vocab v.pkl", "refused: .*posix.system, in v.pkl; a list of words runs nothing.*",
        several(lambda folder, good: torch.save(fastai_language_model(), folder / "w.pth"), file("v.pkl", pickle.dumps(MarksAFile())))),
    Row("malicious, in a full folder", IM + "x.pth --force", "refused: .*, in x.pth; weights run nothing.*",
        several(made_by_torch("x.pth", {"a": MarksAFile()}), file("out/model/config.json", "{}"))),
    Row("checkpoint absent", IM + "no.pth", "no such file, no.pth; check the path"),
    Row("checkpoint of another", IM + "w.pth", "an encoder without its softmax, in w.pth; import.*", made_by_torch("w.pth", {"x": torch.zeros(2)})),
    Row("no checkpoint", IM + "w.pth", "damaged, or not a torch checkpoint .*, in w.pth; get.*", file("w.pth", "hello")),
    Row("vocabulary of another", IM + "w.pth --vocab v.json", "the vocabulary has 1 words, the embedding 10 rows, in v.json; give.*",
        several(lambda folder, good: torch.save(fastai_language_model(), folder / "w.pth"), file("v.json", '["a"]'))),
]  # fmt: skip
OPTIONS = [
    Row("options of another system", IM + "w.pth --options o.json", "--options means nothing here, --from fastai; leave it out", release(lambda folder: None)),
    Row("vocabulary of a biLM", IA + "--vocab v.json", "--vocab means nothing here, --from allennlp; leave it out", release(lambda folder: None)),
    Row("words of texts for a biLM", IA + "--words-of {text}", "--words-of means nothing here, --from allennlp; leave it out", release(lambda folder: None)),
    Row("backward weights of vectors", IG + "--backward-weights v", "--backward-weights means nothing here, --from glove; leave it out", file("v", GLOVE)),
    Row("options of vectors", IW + "--options v", "--options means nothing here, --from word2vec; leave it out", file("v", GLOVE)),
    Row("no options", "models import --from allennlp --weights w.hdf5 -o out", "--options is missing, --from allennlp; for example --options options.json", release(lambda folder: None)),
    Row("biLM into a full folder", IA, "the output folder is not empty, out; start afresh with --force, .*", several(release(lambda folder: None), file("out/mine.txt", "mine"))),
    Row("biLM over a run", IA + "--force", "the output folder is that of a training run.*, out; name another --output",
        several(release(lambda folder: None), file("out/config.yaml", ""), file("out/data.json", '{"fingerprint": "f"}'))),
    Row("biLM over its own weights", "models import --from allennlp --weights d/w.hdf5 --options o.json -o d --force",
        "the output folder holds what the run reads, --output d with --weights d/w.hdf5; name another --output", several(options("{}"), file("d/w.hdf5", ""))),
]  # fmt: skip
ELMO = [
    Row("options absent", IA, "no such file, o.json; check the path", release(lambda folder: (folder / "o.json").unlink())),
    Row("options not JSON", IA, "not valid JSON .*, in o.json" + MEND, options("dim: 3")),
    Row("options of a list", IA, "it holds no options, in o.json" + MEND, options("[]")),
    Row("options without layers", IA, "no section 'lstm', in o.json" + MEND, options("{}")),
    Row("options without a key", IA, "no key 'lstm.projection_dim', in o.json" + MEND, lstm(projection_dim=None)),
    Row("options with an unknown key", IA, "unknown key 'lstm.dims', in o.json; the keys there are dim, .*", lstm(dims=3)),
    Row("options of the wrong type", IA, "'lstm.dim' must be a positive whole number, not \"5\", in o.json" + MEND, lstm(dim="5")),
    Row("half a layer", IA, "'lstm.n_layers' must be a positive whole number, not 1.5, in o.json" + MEND, lstm(n_layers=1.5)),
    Row("unknown activation", IA, "'char_cnn.activation' must be \"relu\" or \"tanh\", not \"gelu\", in o.json" + MEND, char_cnn(activation="gelu")),
    Row("other characters", IA, "'char_cnn.n_characters' must be 261 .* or 262, not 300, in o.json" + MEND, char_cnn(n_characters=300)),
    Row("longer words", IA, "'char_cnn.max_characters_per_token' must be 50, not 60, in o.json" + MEND, char_cnn(max_characters_per_token=60)),
    Row("a filter wider than a word", IA, "'char_cnn.filters' must be pairs of a width of 1 to 50 .*, in o.json" + MEND, char_cnn(filters=[[51, 2]])),
    Row("one direction", IA, "'bidirectional' must be true, not false, in o.json" + MEND, options(json.dumps({**elmo_options(), "bidirectional": False}))),
    Row("a billion cells", IA, rf"'{CELL}/W_0' has the shape \(6, 20\), expected \(6, 4000000000\), in w.hdf5" + OTHER, lstm(dim=BILLION)),
    Row("a billion layers", IA, "no data set 'RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/W_0', in w.hdf5" + OTHER, lstm(n_layers=BILLION)),
    Row("a billion highways", IA, "no data set 'CNN_high_1/W_carry', in w.hdf5" + OTHER, char_cnn(n_highway=BILLION)),
    Row("a billion cells, promised", IA, f"the numbers of '{CELL}/W_0' were never written, in w.hdf5" + MEND, release(promised)),
    Row("biLM weights absent", IA, "no such file, w.hdf5; check the path", release(lambda folder: (folder / "w.hdf5").unlink())),
    Row("biLM weights not HDF5", IA, r"not a readable HDF5 file \(.*signature.*\), in w.hdf5" + MEND, several(options("{}"), lstm(), file("w.hdf5", "hello"))),
    Row("biLM weights cut short", IA, r"not a readable HDF5 file \(.*truncated.*\), in w.hdf5" + MEND,
        release(lambda folder: (folder / "w.hdf5").write_bytes((folder / "w.hdf5").read_bytes()[:9000]))),
    Row("a data set missing", IA, "no data set 'CNN/b_cnn_1', in w.hdf5" + OTHER, weights(lambda data: data.__delitem__("CNN/b_cnn_1"))),
    Row("a data set too many", IA, "no place for 'CNN/b_cnn_2', in w.hdf5" + OTHER, weights(lambda data: data.create_dataset("CNN/b_cnn_2", (2,), "float32"))),
    Row("a layer too many", IA, "no place for 'RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/B', in w.hdf5" + OTHER, release(lambda folder: elmo_weights(folder / "w.hdf5", layers=3))),
    Row("a wrong shape", IA, r"'CNN_proj/b_proj' has the shape \(4,\), expected \(3,\), in w.hdf5" + OTHER,
        instead("CNN_proj/b_proj", lambda data: data.create_dataset("CNN_proj/b_proj", data=np.zeros(4, "f4")))),
    Row("objects for numbers", IA, "'CNN_proj/b_proj' holds object, not floating-point numbers, in w.hdf5" + MEND,
        instead("CNN_proj/b_proj", lambda data: data.create_dataset("CNN_proj/b_proj", data=["a", "b", "c"]))),
    Row("whole numbers", IA, "'CNN_proj/b_proj' holds int8, not floating-point numbers, in w.hdf5" + MEND,
        instead("CNN_proj/b_proj", lambda data: data.create_dataset("CNN_proj/b_proj", data=np.zeros(3, "i1")))),
    Row("numbers that are none", IA, "'CNN_proj/b_proj' holds values that are not finite, in w.hdf5" + MEND, weights(lambda data: data["CNN_proj/b_proj"].__setitem__(0, np.nan))),
    Row("a link to another file", IA, "'CNN_proj/b_proj' is a link to elsewhere, in w.hdf5" + MEND,
        instead("CNN_proj/b_proj", lambda data: data.__setitem__("CNN_proj/b_proj", h5py.ExternalLink("w.hdf5", "CNN/b_cnn_0")))),
    Row("a link within", IA, "'CNN_proj/W_proj' is a link to elsewhere, in w.hdf5" + MEND,
        instead("CNN_proj/W_proj", lambda data: data.__setitem__("CNN_proj/W_proj", h5py.SoftLink("/nowhere")))),
    Row("numbers in another file", IA, "'CNN_proj/b_proj' keeps its numbers in another file, in w.hdf5" + MEND, instead("CNN_proj/b_proj", kept_elsewhere)),
    Row("a group within itself", IA, "no place for 'CNN/more/more/.*', in w.hdf5" + MEND, weights(lambda data: data["CNN"].__setitem__("more", data["CNN"]))),
]  # fmt: skip
VECTOR_FILES = [
    Row("vectors absent", IW, "no such file, v; check the path"),
    Row("no vectors", IW, "the file is empty, in v" + AGAIN, file("v", "")),
    Row("prose for vectors", IG, "no file of word vectors: .*, in v; give word2vec's text or binary, .*", file("v", "once upon a time\n" * 9)),
    Row("a header of nothing", IW, "a header of 0 rows and 3 columns, line 1 of v" + AGAIN, file("v", "0 3\n")),
    Row("a ragged line", IG, "2 numbers where 3 are due, line 3 of v" + AGAIN, file("v", GLOVE + "plot 1 2\n")),
    Row("no number", IG, "'x' is no number, line 3 of v" + AGAIN, file("v", GLOVE + "plot 1 x 3\n")),
    Row("not a number", IG, "a number that is not finite, line 3 of v" + AGAIN, file("v", GLOVE + "plot 1 nan 3\n")),
    Row("an infinite number", IW, "a number that is not finite, row 2 of v" + AGAIN, file("v", word2vec_binary({"a": [1.0, 2.0], "b": [1.0, float("inf")]}))),
    Row("binary vectors cut short", IW, "it ends in row 2 of the 2 that its header promises, in v" + AGAIN, file("v", word2vec_binary(VECTORS)[:-6])),
    Row("more binary vectors", IW, "there is more in it than the 1 rows that its header promises, in v" + AGAIN, file("v", word2vec_binary(VECTORS, promised=1))),
    Row("a header that promises more", IW, "its header promises 4 rows, and it has 2, in v" + AGAIN, file("v", "4 3\n" + GLOVE)),
    Row("gzipped vectors cut short", IG, "it cannot be read .*, in v" + AGAIN, file("v", gzip.compress(GLOVE.encode())[:-12])),
    Row("an archive of several", IG, r"an archive of 2 files \(a.txt, b.txt\), in v; unpack it, .*", file("v", zipped("a.txt", "b.txt"))),
    Row("words of no text", IG + "--words-of {text}", "none of the words of the texts is in it, in v; give other vectors", file("v", "UNK 1 2 3\nzebra 1 2 3\n")),
    Row("words of an absent text", IG + "--words-of words.txt", "no such file or folder, words.txt.*", file("v", GLOVE)),
    Row("vectors that spoil, in a full folder", IW + "--force", "1 numbers where 3 are due, line 3 of v" + AGAIN,
        several(file("v", GLOVE + "plot 1\n"), file("out/model/config.json", "{}"))),
]  # fmt: skip
IMPORTS = [*FASTAI, *OPTIONS, *ELMO, *VECTOR_FILES]
