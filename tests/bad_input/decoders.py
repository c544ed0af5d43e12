# ruff: noqa: E501 - a row of the table is a line
"""What GPT and the encoder–decoder Transformer do not know, damaged models of both, and folders that are no release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input.making import Prepare, Row, config, cut, file, model, several, without
from tests.releases import gpt_release

PG = "pretrain --family gpt --size tiny --text {text} -o out "
PT = "pretrain --family transformer --size tiny --text {text} -o out "
FG = "finetune --model {gpt} --data {data} -o out "
FT = "finetune --model {transformer} --data {data} -o out "
MG = "finetune --model decoder --data {data} -o out"
IO = "models import --from openai -o out --directory r "
RELEASE = "; give the folder of the release as it is"


def release(change: Callable[[Path], object] = lambda folder: None) -> Prepare:
    """OpenAI's files, then changed."""

    def prepare(folder: Path, good: dict[str, Path]) -> None:
        gpt_release(folder / "r")
        change(folder / "r")

    return prepare


def shapes(change: Callable[[list[Any]], object]) -> Prepare:
    def damage(folder: Path) -> None:
        found = json.loads((folder / "params_shapes.json").read_text())
        change(found)
        (folder / "params_shapes.json").write_text(json.dumps(found))

    return release(damage)


OPTIONS = [
    Row("words for a GPT", PG + "--set tokenizer=word", "a GPT reads subwords, tokenizer; set it to subword.*"),
    Row("words for a Transformer", PT + "--set tokenizer=word", "a Transformer reads subwords, tokenizer; set it to subword.*"),
    Row("a GPT of no bytes", PG + "--vocab-size 100", "a subword vocabulary of 100 is too small, in vocab_size; ask for 258 or more.*"),
    Row("a Transformer of no bytes", PT + "--vocab-size 300", "a subword vocabulary of 300 is too small, in vocab_size; ask for 325 or more.*"),
    Row("a backward GPT", PG + "--backward", "gpt has no models that read backward, --backward; leave it out"),
    Row("a Transformer of candidates", PT + "--set sampled_softmax=10", "transformer is trained on the full softmax, sampled_softmax; set it to 0"),
    Row("heads that do not divide", PG + "--set architecture.n_head=5", "n_head must divide n_embd, and 5 does not divide 64, architecture; mend the value"),
    Row("heads that do not divide either", PT + "--set architecture.num_heads=5", "num_heads must divide width, and 5 does not divide 64, architecture; mend the value"),
    Row("marks that are settled", PG + "--set architecture.extract_token_id=3", "extract_token_id cannot be chosen, architecture; leave it out.*"),
    Row("no noise", PT + "--set architecture.noise_density=0", "noise_density lies between 0 and 1.*, architecture; mend the value"),
    Row("noise of no kind", PT + "--set architecture.noise=words", "Field 'noise' .*'spans', 'masks'.*, got words, architecture; mend the value"),
    Row("another GPT's layers", FG + "--set architecture.n_layer=9", "n_layer = 9 does not fit the weights.*, architecture; leave it out"),
    Row("another Transformer's places", FT + "--set architecture.width=32", "width = 32 does not fit the weights.*, architecture; leave it out"),
    Row("a loss that a Transformer has not", FT + "--lm-weight 0.5", "transformer is fine-tuned without an auxiliary .*, --lm-weight; leave it out"),
    Row("no room for a text", FG + "--max-length 1", "a limit of 1 leaves no room for the 2 marks around a text, --max-length; raise it"),
    Row("no room for either text", "finetune --model {transformer} --data p.csv --text-column a --text-pair-column b -o out --max-length 2", "a limit of 2 leaves no room for the 3 marks around a text, --max-length; raise it",
        file("p.csv", "a,b,label\n" + "".join(f"one {n},two,{'good' if n % 2 else 'bad'}\n" for n in range(12)))),
    Row("a symmetric pair for ULMFiT", "finetune --model {lm} --data {data} -o out --pair-symmetric", "ulmfit reads a pair of texts in one order, --pair-symmetric; leave it out.*"),
    Row("a GPT and a backward model", FG + "--backward-model {gpt}", "a model of the family gpt has no backward companion, --backward-model .*; leave it out"),
]  # fmt: skip
MODELS = [
    Row("a GPT of other weights", MG, "the tensor .* has the shape .*, decoder; .* belong together", model("gpt", config(n_positions=9), "decoder")),
    Row("a GPT that divides no head", MG, "its config makes no model .n_head must divide n_embd.*, decoder/config.json; .*", model("gpt", config(n_head=7), "decoder")),
    Row("a GPT cut short", MG, "damaged or cut short, decoder/model.safetensors; copy.*", model("gpt", cut("model.safetensors", 600), "decoder")),
    Row("a GPT's tokens cut short", MG, "not a JSON file, decoder/tokenizer.json; copy.*", model("gpt", cut("tokenizer.json", 300), "decoder")),
    Row("a GPT without a tokenizer", MG, "a language model without a tokenizer, decoder; import .*", model("gpt", without("tokenizer.json", "tokenizer_config.json"), "decoder")),
    Row("a Transformer of other weights", MG, "the tensor .* has the shape .*, decoder; .* belong together", model("transformer", config(feed_forward_width=9), "decoder")),
    Row("a Transformer of a newer version", MG, "written by a newer version of nlptl, decoder/config.json; update nlptl", model("transformer", config(format_version=2), "decoder")),
]  # fmt: skip
IMPORTS = [
    Row("no folder of a release", IO, "no such folder, r; check the path"),
    Row("a release that is a file", "models import --from openai -o out --directory f", "no such folder, f; check the path", file("f", "")),
    Row("no directory", "models import --from openai -o out", "--directory is missing, --from openai; for example --directory .*"),
    Row("weights of a GPT", IO + "--weights w", "--weights means nothing here, --from openai; leave it out", release()),
    Row("heads of vectors", "models import --from glove --weights v -o out --heads 2", "--heads means nothing here, --from glove; leave it out", file("v", "")),
    Row("heads that do not divide the release", IO, "12 heads do not divide a width of 4, in r; give the right --heads", release()),
    Row("an empty release", IO, "no list of shapes .FileNotFoundError., in r/params_shapes.json" + RELEASE, lambda folder, good: (folder / "r").mkdir()),
    Row("a release without a piece", IO + "--heads 2", "a piece of the weights is missing, no r/params_7.npy" + RELEASE, release(lambda f: (f / "params_7.npy").unlink())),
    Row("a piece that is a pickle", IO + "--heads 2", "not a file of numbers, in r/params_7.npy; download it again", release(lambda f: np.save(f / "params_7.npy", np.array([{}])))),
    Row("a piece of HTML", IO + "--heads 2", "not a file of numbers, in r/params_6.npy; download it again", release(lambda f: (f / "params_6.npy").write_text("<html>"))),
    Row("a piece of nothing finite", IO + "--heads 2", "numbers that are not finite, in r; download the release again", release(lambda f: np.save(f / "params_0.npy", np.load(f / "params_0.npy") * np.inf))),
    Row("a release of fewer numbers", IO + "--heads 2", ".* numbers where the shapes ask for .*, in r" + RELEASE, release(lambda f: np.save(f / "params_7.npy", np.ones(1, np.float32)))),
    Row("shapes of another model", IO + "--heads 2", "the shapes are not those of .*, in r/params_shapes.json" + RELEASE, shapes(lambda x: x.pop())),
    Row("shapes beyond memory", IO + "--heads 2", "not a list of shapes of tensors, in r/params_shapes.json" + RELEASE, shapes(lambda x: x[1].__setitem__(0, 10**15))),
    Row("a vocabulary of another model", IO + "--heads 2", "a vocabulary of 1 for a model of 8 tokens, in r/encoder_bpe_40000.json" + RELEASE, release(lambda f: (f / "encoder_bpe_40000.json").write_text('{"<unk>": 0}'))),
    Row("merges of another model", IO + "--heads 2", "the merge of 'x' and 'y' is of pieces that the vocabulary lacks, in r/vocab_40000.bpe" + RELEASE, release(lambda f: (f / "vocab_40000.bpe").write_text("#version: 0.2\nx y\n"))),
    Row("a release over itself", "models import --from openai --directory r -o r --force --heads 2", "the output folder holds what the run reads, --output r with --directory r; name another --output", release()),
    Row("a release into a full folder", "models import --from openai -o taken --directory r", "the output folder is not empty, taken; start afresh with --force, .*", several(release(), file("taken/mine.txt", "mine"))),
]  # fmt: skip
DECODERS = [*OPTIONS, *MODELS, *IMPORTS]
