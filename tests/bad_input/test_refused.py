# ruff: noqa: E501 - a row of the table is a line
"""Every bad input ends with its own message (cause, place, remedy) and exit code 2, and loses nothing; the table below
is the test. `{lm}`, `{elmo}`, `{classifier}`, `{data}` and their like stand for good inputs; other names are relative to
the folder that the row prepares."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nlptl import cli
from nlptl.commands.invocation import Invocation
from nlptl.commands.models import import_checkpoint
from nlptl.config import ImportConfig
from nlptl.training.progress import Reporter
from tests.bad_input.decoders import DECODERS
from tests.bad_input.families import FAMILIES
from tests.bad_input.imports import IMPORTS
from tests.bad_input.making import (
    GOOD,
    MARKER,
    MENTION,
    Row,
    config,
    cut,
    file,
    folder,
    model,
    without,
)
from tests.bad_input.strange import STRANGE
from tests.bad_input.tally import Tally
from tests.releases import elmo_release


def more_tokens(path: Path) -> None:
    known = json.loads((path / "tokenizer.json").read_text())
    vocabulary = known["model"]["vocab"]
    vocabulary["a-token-without-a-row"] = len(vocabulary)
    (path / "tokenizer.json").write_text(json.dumps(known))


def weights_of_the_language_model(folder: Path, good: dict[str, Path]) -> None:
    shutil.copytree(good["classifier"] / "model", folder / "m")
    shutil.copy(good["lm"] / "model" / "model.safetensors", folder / "m")


FT = "finetune --model {lm} -o out --data "
FTD = "finetune --model {lm} --data {data} -o out "
PT = "pretrain --family ulmfit --size tiny -o out --text "
PTT = "pretrain --family ulmfit --size tiny --text {text} -o out "
EV = "evaluate --model {classifier} --data "
PR = "predict --model {classifier} "
EX = "extract-features --model {lm} --data {data} -o "
M = "predict --model m {data}"
UNTIDY = "epoch: 3\nlearning_rate: -1\nlm: {epoch: 3}\n"

CONFIGS = [
    Row("no such config", "finetune no.yaml", "no such config file, no.yaml; check the path.*"),
    Row("config is a folder", "finetune d", "a folder where a config file is due, d; name the YAML.*", folder("d")),
    Row("config not UTF-8", "finetune c.yaml", "not a UTF-8.*, c.yaml; save it as UTF-8", file("c.yaml", b"a: \xe9")),
    Row("config a list", "finetune c.yaml", "a config is a mapping.*, c.yaml; see configs.*", file("c.yaml", "- a")),
    Row("config a tab", "finetune c.yaml", r".*'\\t'.*, c.yaml, line 2; mend.*", file("c.yaml", "lm:\n\tepochs: 3")),
    Row("config a list for a key", "finetune c.yaml", ".*a key is a list.*line 1; mend.*", file("c.yaml", "? [a]\n: 3")),
    Row("config a key twice", "finetune c.yaml", ".*'seed' is given twice.*line 2; .*", file("c.yaml", "seed: 1\nseed: 2")),
    Row("config runs code", "finetune c.yaml", ".*constructor.*os.system.*, c.yaml, line 1; mend that line",
        file("c.yaml", f"model: !!python/object/apply:os.system ['touch {MARKER}']")),
    Row("all mistakes together", "finetune c.yaml", "3 mistakes: .*-1.*'lm.epoch'.*'epoch' .did you mean 'epochs'.*"
        ", c.yaml; see.*", file("c.yaml", UNTIDY)),
    Row("unknown key", FTD + "--set epoch=3", r"unknown key 'epoch' \(did you mean 'epochs'\?\)" + MENTION),
    Row("not an assignment", FTD + "--set foo", "'foo' is not KEY=VALUE, --set; for example --set .*"),
    Row("negative rate", FTD + "--learning-rate -0.1", r"learning_rate: .*greater than 0 \(it is -0.1\)" + MENTION),
    Row("a length of nothing", FTD + "--max-length 0", r"max_length: .*greater than 0 \(it is 0\)" + MENTION),
    Row("a number in quotes", "finetune c.yaml", r"epochs: .*integer \(it is '3'\), c.yaml; .*", file("c.yaml", "epochs: '3'")),
    Row("no such device", FTD + "--device gpu", r"device: .*auto, cpu, cuda, .*\(it is 'gpu'\)" + MENTION),
    Row("absent device", FTD + "--device cuda:99", "this machine has no device 'cuda(:99)?', --device; use --device auto"),
    Row("fp16 on a CPU", FTD + "--device cpu --precision fp16", "fp16 training needs a GPU, --precision; use .*bf16.*"),
    Row("unknown family", "pretrain --family ulmfitt --text {text} -o out", "no family 'ulmfitt'.*'ulmfit'.*, --family; .*"),
    Row("no family", "pretrain --text {text} -o out", "neither a family nor a model.*, --family; for example .*"),
    Row("unknown size", "pretrain --family ulmfit --size tinny --text {text} -o out", "ulmfit has no size 'tinny'.*, size; choose.*"),
    Row("vocabulary too small", PTT + "--vocab-size 10", "a subword vocabulary of 10 .*, in vocab_size; ask for 261.*"),
    Row("unknown architecture", PTT + "--set architecture.hiden_size=3", ".*'hiden_size'.*'hidden_size'.*, architecture; .*"),
    Row("architecture of words", PTT + "--set architecture.hidden_size=big", "[Ff]ield 'hidden_size' .*'big'.*, architecture; mend.*"),
    Row("architecture that is settled", PTT + "--set architecture.vocab_size=5", "vocab_size cannot be .*, architecture; leave it out.*"),
    Row("architecture of other weights", FTD + "--set lm.architecture.hidden_size=30", "hidden_size = 30 does not fit.*, architecture; .*"),
    Row("text and no tuning", FTD + "--lm-text {text} --no-lm-tuning", "text to tune on, and no tuning, --lm-text .*; leave.*"),
    Row("no such loss", FTD + "--lm-weight 0.5", "ulmfit is fine-tuned without .*, --lm-weight; leave it out"),
    Row("tokenizer of a model", "pretrain --model {lm} --vocab-size 500 --text {text} -o out", "a model that goes on keeps.*, --model; .*"),
    Row("no such layer", EX + "f.npy --layers 9", "no layer 9, --layers; the model has layers 0 to 2"),
    Row("layers in words", EX + "f.npy --layers top", r"layers: .*last, mix, all, or numbers.* \(it is 'top'\)" + MENTION),
    Row("layers of two widths", EX + "f.npy --layers mix", ".*different widths.*cannot be mixed, --layers mix; use --layers last"),
]  # fmt: skip
DATA = [
    Row("absent file", FT + "d.csv", "no such file or folder, d.csv; did you mean dd.csv.?", file("dd.csv", GOOD)),
    Row("empty file", FT + "d.csv", "the file is empty, in d.csv; it needs at least one row", file("d.csv", "")),
    Row("header alone", FT + "d.csv", "there are no data rows, in d.csv; it needs .*", file("d.csv", "text,label\n")),
    Row("nothing to predict", PR + "p.csv", "there are no data rows, in p.csv; it needs .*", file("p.csv", "text\n")),
    Row("one class", FT + "d.csv", "a classifier needs two classes and there is 'x', in d.csv; add.*", file("d.csv", "text,label\na,x\nb,x\n")),
    Row("no such column", FT + "d.csv --text-column txt", "no column named 'txt', in d.csv; it has 'text', 'label'; did you.*", file("d.csv", GOOD)),
    Row("no label column", FT + "d.csv", "no column is plainly the label, in d.csv; it has 'text': name .*", file("d.csv", "text\na\nb\n")),
    Row("labels missing", EV + "d.csv", "no row is left, in d.csv; left out for a missing label: 2 rows .*", file("d.csv", "text,label\na,\nb,\n")),
    Row("ambiguous text", FT + "d.csv", "the text column could be 'a' or 'b', in d.csv; .*--text-column", file("d.csv", "a,b,label\nx,y,z\n")),
    Row("not UTF-8", FT + "d.csv", ".*not UTF-8 at line 2.*Windows-1252, in d.csv; re-encode it: iconv -f CP1252 .*", file("d.csv", "text,label\né,x\n".encode("latin-1"))),
    Row("UTF-16", PR + "d.csv", ".*it looks like UTF-16, in d.csv; re-encode it: iconv -f UTF-16.*", file("d.csv", GOOD.encode("utf-16"))),
    Row("folder without splits", FT + "f", "no file is named for a split.*, in f; name one of reviews.csv itself.*", file("f/reviews.csv", GOOD)),
    Row("wrong suffix", FT + "d.xlsx", "'.xlsx' is not a format of labelled text, in d.xlsx; use one of .csv.*", file("d.xlsx", "x")),
    Row("binary file", FT + "d.csv", "the file is not UTF-8 at line 1, byte 2 .*, in d.csv; re-encode.*", file("d.csv", b"a\xff\x00\x9d" * 99)),
    Row("broken JSON", EV + "d.jsonl", "line 2 is broken JSON.*, in d.jsonl; mend it.*", file("d.jsonl", '{"text": "a", "label": "b"}\n{"te')),
    Row("Parquet cut short", FT + "d.parquet", "the file is truncated.*, in d.parquet; write or copy it again", file("d.parquet", b"PAR1abc")),
    Row("gzip cut short", FT + "d.csv.gz", "the file is truncated.*, in d.csv.gz; write or copy it again", file("d.csv.gz", gzip.compress(os.urandom(999))[:99])),
    Row("too many fields", FT + "d.csv", "line 3 has 3 fields where the header has 2, in d.csv; quote.*", file("d.csv", "text,label\na,b\nc,d,e\n")),
    Row("other separator", FT + "d.csv", "no column is plainly the label, in d.csv; its fields .* another character.*", file("d.csv", "text;label\na;b\n")),
    Row("text is a number", FT + "d.jsonl", "the text is of type int.*, in column 'text' of row 0 .*; write it in quotes", file("d.jsonl", '{"text": 3, "label": "b"}')),
    Row("labels of two kinds", FT + "d.jsonl", "some labels are lists.*, in column 'label' of row 1 .*; write all.*",
        file("d.jsonl", '{"text": "a", "label": ["b"]}\n{"text": "c", "label": "d"}')),
    Row("lists for a single label", EV + "d.jsonl", "the model gives one label a text and the data has lists.*, in d.jsonl; name.*",
        file("d.jsonl", '{"text": "a", "label": ["good"]}\n{"text": "c", "label": ["bad"]}')),
    Row("limit below the classes", FT + "{data} --limit 1", "one row cannot be trained on and validated, in .*; use two.*"),
    Row("limit of a sample", FT + "d.csv --limit 3", "a sample of 3 rows cannot hold 6 classes, in the limit; ask for at least 6",
        file("d.csv", "text,label\n" + "".join(f"t{n},{'abcdef'[n % 6]}\n" for n in range(30)))),
    Row("labels new to the model", EV + "d.csv", "labels that the model does not know: 'x' .1 row., in d.csv; it knows 'bad', 'good'; .*",
        file("d.csv", GOOD + "other,x\n")),
    Row("labels new to train", FTD + "--test d.csv", "labels that no training row has: 'x' .1 row., in the test data; train has.*",
        file("d.csv", GOOD + "other,x\n")),
    Row("a text for a file", PR + "nice" * 99, "no such file or folder .File name too long., nice.*; to read texts themselves, give -.*"),
    Row("language-model text absent", PT + "no.txt", "no such file or folder, no.txt.*"),
    Row("language-model text empty", PT + "e.txt", "the file is empty, in e.txt; it needs.*", file("e.txt", "")),
    Row("language-model text blank", PT + "e.txt", "no text in it, in e.txt; give files that hold text", file("e.txt", " \n\n")),
    Row("language-model folder empty", PT + "f", "no text file in this folder, f; it takes .txt.*", folder("f")),
    Row("task text absent", FTD + "--lm-text none.txt", "no such file or folder, none.txt.*"),
]  # fmt: skip
MODELS = [
    Row("no such model", "predict --model mm {data}", "no such model folder .there is 'm'., mm; check the path", folder("m")),
    Row("a run without a model", M, "no config.json, m; a model folder is what a run writes as model/", file("m/config.yaml", "")),
    Row("a file for a model", "predict --model {data} {data}", "a file where a model folder is due, .*; name the folder.*"),
    Row("classifier to fine-tune", "finetune --model {classifier} --data {data} -o out", "a classifier where .*, .*; name what .*"),
    Row("classifier to pretrain", "pretrain --model {classifier} --text {text} -o out", "a classifier, which cannot go on as a language model, .*; name what .*"),
    Row("language model to predict", "predict --model {lm} {data}", "a language model, not a classifier, .*; train one: nlptl.*"),
    Row("directions swapped", "finetune --model {backward} --backward-model {lm} --data {data} -o out", "a backward language model where .*, .*; .*"),
    Row("two of one direction", "finetune --model {lm} --backward-model {lm} --data {data} -o out", "a forward language model where .*, .*; .*"),
    Row("weights cut short", M, "damaged or cut short, m/model.safetensors; copy.*", model("classifier", cut("model.safetensors", 500))),
    Row("weights absent", M, "no model.safetensors, m; .*", model("classifier", without("model.safetensors"))),
    Row("weights of another", M, "the tensor .* is missing where its config asks for .*, m; .*", weights_of_the_language_model),
    Row("config of another", M, "the tensor .* has the shape .*, m; .* belong together", model("classifier", config(hidden_size=13))),
    Row("config cut short", M, "not a JSON file, m/config.json; copy.*", model("classifier", cut("config.json", 50))),
    Row("a string for a size", M, ".*'hidden_size' expected int.*, m/config.json; .*", model("classifier", config(hidden_size="12"))),
    Row("another architecture", M, "a model of type 'bert', m/config.json; the families here.*", model("classifier", config(model_type="bert"))),
    Row("a newer version", M, "written by a newer version.*, m/config.json; update nlptl", model("classifier", config(format_version=99))),
    Row("one name for two labels", M, "its id2label does not .*, m/config.json; .*", model("classifier", config(id2label={"0": "a", "1": "a"}))),
    Row("tokenizer absent", M, "a classifier without a tokenizer, m; put .*", model("classifier", without("tokenizer.json", "tokenizer_config.json"))),
    Row("tokenizer cut short", M, "not a JSON file, m/tokenizer.json; copy.*", model("classifier", cut("tokenizer.json", 300))),
    Row("tokens without rows", "finetune --model m --data {data} -o out", "its tokenizer has .* rows for .*, m; use.*", model("lm", more_tokens)),
    Row("compared with other labels", EV + "{data} --compare m -o out", "its labels are x, y and .* bad, good, m; compare.*",
        model("classifier", config(id2label={"0": "x", "1": "y"}, label2id={"x": 0, "y": 1}))),
]  # fmt: skip
OUTPUTS = [
    Row("full folder", FTD, "the output folder is not empty, out; go on with --resume.*", file("out/mine.txt", "mine")),
    Row("full folder of quickstart", "quickstart -o full", "the output folder is not empty, full; .*", file("full/mine.txt", "mine")),
    Row("a file for a folder", PTT, "a file where the output folder is due, out; name another --output", file("out", "mine")),
    Row("below a file", "evaluate --model {classifier} --data {data} -o f/out", "cannot be written .Not a directory., f/out; name.*", file("f", "mine")),
    Row("file is there", PR + "{data} -o p.jsonl", "the output file is there already, p.jsonl; overwrite.*", file("p.jsonl", "mine")),
    Row("file in no folder", PR + "{data} -o no/p.jsonl", "its folder does not exist, no/p.jsonl; name a file.*"),
    Row("folder for a file", PR + "{data} -o d --force", "a folder stands where a file is due, d; name a file", folder("d")),
    Row("output over the data", PR + "d.csv -o d.csv --force", "the output would replace the data.*, d.csv; name another", file("d.csv", GOOD)),
    Row("suffix of features", EX + "f.csv", "no format is known by the suffix '.csv', f.csv; use one of .*"),
    Row("tokens in rows", EX + "f.npy --level token", ".npy holds one row a text.*, --level token; write .*"),
    Row("resume and force", FTD + "--resume --force", "--resume goes on and --force starts afresh; choose one of them"),
    Row("share out of range", EV + "{data} --min-accuracy 90", r"min_accuracy: .*less than or equal to 1 \(it is 90.0\)" + MENTION),
    Row("no such option", FTD + "--learning-rat 1", r"no such option: --learning-rat \(did you mean .*\)" + MENTION),
    Row("no data", "finetune --model {lm} -o out", "--data is missing; for example nlptl finetune .*"),
]  # fmt: skip
ROWS = [*CONFIGS, *DATA, *MODELS, *IMPORTS, *FAMILIES, *DECODERS, *OUTPUTS, *STRANGE]


def contents(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a process of the command line has to itself; training is not to begin in it."""
    from nlptl.training.run_trainer import RunTrainer

    def begin(trainer: RunTrainer, resume: bool) -> None:
        pytest.fail("training began")

    monkeypatch.setattr(RunTrainer, "run", begin)
    monkeypatch.setattr(os, "environ", {**os.environ, "HF_HUB_OFFLINE": "1"})
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def said_before() -> dict[str, str]:
    """Each message so far, and the row that it belongs to."""
    return {}


@pytest.fixture(scope="session")
def good_inputs(
    tiny_language_model: Callable[..., Path],
    tiny_classifier: Callable[..., Path],
    backward_language_model_folder: Path,
    labelled_file: Path,
    text_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    release, encoder = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("encoder") / "run"
    elmo_release(release)
    files = {"weights": release / "w.hdf5", "options": release / "o.json"}
    import_checkpoint(
        ImportConfig(source="allennlp", output=encoder, **files), Invocation(reporter=Reporter(True))
    )
    elmo = tiny_language_model(family="elmo", architecture={"projection_size": 4, "cell_size": 6})
    return {
        "lm": tiny_language_model(),
        "backward": backward_language_model_folder,
        "classifier": tiny_classifier(),
        "elmo": elmo,
        "elmo classifier": tiny_classifier(model=str(elmo), epochs=1),
        "encoder": encoder,
        "vectors": tiny_language_model(family="wordvectors", sampled_softmax=5, architecture={}),
        "gpt": tiny_language_model(family="gpt", architecture={"n_embd": 8}),
        "transformer": tiny_language_model(
            family="transformer", architecture={"width": 8}, sampled_softmax=0
        ),
        "data": labelled_file,
        "text": text_file,
    }


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_bad_input_ends_with_its_own_message_and_loses_nothing(
    row: Row,
    good_inputs: dict[str, Path],
    said_before: dict[str, str],
    tally: Tally,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row.prepare(tmp_path, good_inputs)
    before = contents(tmp_path)
    words = [word.format(**good_inputs) for word in shlex.split(row.line)]
    monkeypatch.setattr(sys, "argv", ["nlptl", *words])
    capsys.readouterr()

    streams = [""]

    def said() -> str:
        streams[:] = capsys.readouterr()
        return streams[1]

    code = tally.command(cli.main, said)

    out, err = streams
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") <= 3
    assert "Traceback" not in err
    assert re.fullmatch(row.message, err.removeprefix("error: ").strip()), err
    assert said_before.setdefault(err, row.id) == row.id
    assert contents(tmp_path) == before, "something was made, changed or removed"


def test_the_table_is_long_and_names_each_row_once() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) >= 380
    commands = {shlex.split(row.line)[0] for row in ROWS}
    assert commands == {
        "pretrain",
        "finetune",
        "extract-features",
        "evaluate",
        "predict",
        "models",
        "quickstart",
    }
