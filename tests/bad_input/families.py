# ruff: noqa: E501 - a row of the table is a line
"""What one family knows and another does not, and damaged models of ELMo and of word vectors."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bad_input.making import MENTION, Row, config, cut, file, model, without

EL = "pretrain --family elmo --size tiny --text {text} -o out "
WV = "pretrain --family wordvectors --size tiny --text {text} -o out "
ON = "pretrain --model {vectors} --text {text} -o out "
FE = "finetune --model {elmo} --data {data} -o out "
FV = "finetune --model {vectors} --data {data} -o out "
EX = "extract-features --model {vectors} --data {data} -o "
M = "predict --model m {data}"
FM = "finetune --model m --data {data} -o out"


def more_words(path: Path) -> None:
    words = json.loads((path / "vocab.json").read_text())
    (path / "vocab.json").write_text(json.dumps([*words, "a-word-without-a-row"]))


def other_words(path: Path) -> None:
    (path / "vocab.json").write_text('["a", "list"]')


OPTIONS = [
    Row("subwords for a biLM", EL + "--set tokenizer=subword", "elmo predicts words, not subwords, tokenizer; set it to word.*"),
    Row("a backward biLM", EL + "--backward", "elmo has no models that read backward, --backward; leave it out"),
    Row("a biLM of no words", EL + "--vocab-size 4", "a vocabulary of 4 holds no word beside .*, in vocab_size; ask for .*"),
    Row("a biLM without filters", EL + "--set architecture.filters=[]", "filters must be pairs of .*, architecture; mend the value"),
    Row("vectors of subwords", WV + "--set tokenizer=subword", "word vectors are those of words, tokenizer; set it to word"),
    Row("vectors that read backward", ON + "--backward", "wordvectors has no models that read backward, --backward; leave it out"),
    Row("vectors of no words", WV + "--vocab-size 3", "a vocabulary of 3 has no room for words .*, vocab_size; set it to 10000.*"),
    Row("vectors of rare words", "pretrain --family wordvectors --size tiny --text t.txt -o out -q", "no word occurs 3 times, the language model's text; give more text", file("t.txt", "hello world")),
    Row("vectors against nothing", WV + "--set sampled_softmax=0", "word vectors are trained against sampled words, sampled_softmax; set it to 5 or so"),
    Row("vectors measured", ON + "--set evaluate_steps=5", "word vectors have no held-out loss, evaluate_steps; set it to 0"),
    Row("vectors that diverge", ON + "--learning-rate 2", "a rate of 2, at which word vectors diverge, learning_rate; set it to 0.05 or so"),
    Row("tuned vectors that diverge", FV + "--lm-text {text} --set lm.learning_rate=30", "a rate of 30, at which word vectors diverge, learning_rate; .*"),
    Row("vectors to a tracker", FV + "--lm-tuning --set tracker=trackio", "the training of word vectors is not reported to a tracker, tracker; .*"),
    Row("vectors of another width", ON + "--set architecture.embedding_size=3", "embedding_size = 3 does not fit the weights.*, architecture; leave it out"),
    Row("an encoder to go on with", "pretrain --model {encoder} --text {text} -o out", "an encoder without a softmax, which cannot go on.*, .*; name what .*"),
    Row("an encoder to tune", "finetune --model {encoder} --data {data} --lm-text {text} -o out", "an encoder without a softmax, which cannot be tuned.*, .*; leave out --lm-text.*"),
    Row("a biLM and a backward model", FE + "--backward-model {elmo}", "a model of the family elmo has no backward companion, --backward-model .*; leave it out"),
    Row("a pair of two families", "finetune --model {lm} --backward-model {elmo} --data {data} -o out", "a model of the family elmo beside one of ulmfit, --backward-model .*; name .*"),
    Row("a loss that a biLM has not", FE + "--lm-weight 0.5", "elmo is fine-tuned without an auxiliary .*, --lm-weight; leave it out"),
    Row("no such head", FE + "--strategy freeze --set head=tree", "head: input should be 'logistic', 'mlp' or 'bilstm-attention' .it is 'tree'." + MENTION),
    Row("no such head of a biLM", FE + "--set architecture.head=tree", "Field 'head' .*'blocks', 'linear', 'bilstm-attention'.*, got tree, architecture; mend the value"),
    Row("no such mix", FE + "--set architecture.layers=top", "Field 'layers' .*'mix', 'all', 'last'.*, got top, architecture; mend the value"),
    Row("another biLM's cells", FE + "--set architecture.cell_size=9", "cell_size = 9 does not fit the weights.*, architecture; leave it out"),
    Row("a state of vectors", EX + "f.npy --stateful --batch-size 1", "a model of the family wordvectors has no state to carry, --stateful with .*; leave --stateful out"),
    Row("a state without a batch", "extract-features --model {elmo} --data {data} -o f.npy --stateful", ".*a batch has no size, --stateful; give --batch-size.*"),
    Row("pooled tokens", EX + "f.parquet --level token --pooling max", "the vectors of tokens are not pooled, --level token with --pooling max; leave .*"),
    Row("a layer above the vectors", EX + "f.npy --layers 1", "no layer 1, --layers; the model has .*"),
    Row("columns of standard input", "extract-features --model {vectors} --data - --text-column t -o f.npy", "standard input is a text a line, without columns, --data -; name no column"),
]  # fmt: skip
MODELS = [
    Row("biLM of other weights", M, "the tensor .* has the shape .*, m; .* belong together", model("elmo classifier", config(cell_size=13))),
    Row("biLM cut short", "finetune --model bilm --data {data} -o out", "damaged or cut short, bilm/model.safetensors; copy.*", model("elmo", cut("model.safetensors", 600), "bilm")),
    Row("pieces of no words", M, "its config makes no model .segment_length must be positive., m/config.json; .*", model("elmo classifier", config(segment_length=0))),
    Row("a biLM's words absent", M, "its tokenizer has no vocab.json, m; copy.*", model("elmo classifier", without("vocab.json"))),
    Row("a biLM's words cut short", M, "the vocabulary cannot be read .*, in m/vocab.json; copy.*", model("elmo classifier", cut("vocab.json", 30))),
    Row("a biLM's words of another", M, "the vocabulary does not begin with <PAD>, .*, in m/vocab.json; copy.*", model("elmo classifier", other_words)),
    Row("a biLM without a tokenizer", FM, "a language model without a tokenizer, m; import .*", model("elmo", without("vocab.json", "tokenizer_config.json"))),
    Row("words that no softmax has", FM, "its tokenizer has .* rows for .*, m; use.*", model("elmo", more_words)),
    Row("vectors of other words", FM, "the vocabulary does not begin with <pad>, .*, in m/vocab.json; copy.*", model("vectors", other_words)),
    Row("vectors without their words", "finetune --model table --data {data} -o out", "its tokenizer has no vocab.json, table; copy.*", model("vectors", without("vocab.json"), "table")),
    Row("vectors of another config", FM, "the tensor .* has the shape .*, m; .* belong together", model("vectors", config(embedding_size=9))),
]  # fmt: skip
FAMILIES = [*OPTIONS, *MODELS]
