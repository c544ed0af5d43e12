"""Text classification with an AWD-LSTM: fastai's `text_classifier_learner` beside nlptl, on the same token ids.

Three jobs, each system by its own defaults (batches of 64 and of 32, its rates and dropouts) from random weights of
400/1152/3. All layers trained: of several passes over the texts the last is timed. Encoder frozen: fastai trains its
head through the frozen encoder, and one pass is timed; nlptl computes the features of training and validation texts
once and fits a head on them, and all of it is timed. After both the held-out texts are classified. Prediction:
probabilities of the held-out texts.

Texts are numericalised once, by fastai's words. Memory is that of the process itself, without the loaders that fastai
starts beside it. `agreement` in the JSON is how far apart the probabilities are where both have the same weights.

usage: python scripts/benchmarks/fastai_classifier.py --data FOLDER --output classifier.json [--rounds 5]
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awd_lstm import add_size_options, encoder_flops, fastai_config, fastai_stopwatch, own_sizes, size
from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

if TYPE_CHECKING:
    import numpy as np

FASTAI = "fastai"
SYSTEMS = (System(FASTAI, {"system": FASTAI}, FASTAI), System("nlptl", {"system": "nlptl"}, FASTAI))
FP32 = System("nlptl, fp32", {"system": "nlptl", "precision": "fp32"}, FASTAI)
BF16 = System("nlptl, bf16", {"system": "nlptl", "precision": "bf16"}, FASTAI)
PARTS = ("train", "validation", "held_out")
FASTAI_BATCH, FASTAI_CHUNK, PAD = 64, 72, 1
WARM_UP = 32  # texts that are read before prediction is timed


def prepared(data: str, texts: int, held_out: int, file: str) -> Figures:
    """Write the ids and labels of the parts; what is known of them."""
    import numpy as np

    import nlptl
    from nlptl.data.datasets import Columns, encode_labels, load_task
    from nlptl.data.encoding import encode_rows
    from nlptl.families.ulmfit.tokenization import train_word_tokenizer

    nlptl.register_families()
    task = load_task(data, columns=Columns(), limit=texts or None, offline=True)
    if task.test is None:
        raise ValueError(f"{data} has no test texts")
    measured = task.test.shuffle(seed=0)
    measured = measured.select(range(min(held_out, len(measured))))
    tokenizer = train_word_tokenizer(task.train["text"])
    arrays: dict[str, Any] = {}
    for name, rows in (("train", task.train), ("validation", task.validation), ("held_out", measured)):
        encoded = encode_rows(rows, tokenizer, None)
        ids = [encoding["input_ids"] for encoding in encoded.encodings]
        arrays[f"{name}_ids"] = np.concatenate(ids).astype(np.int64)
        arrays[f"{name}_lengths"] = np.asarray([len(row) for row in ids])
        arrays[f"{name}_labels"] = np.asarray(encode_labels(rows, task.label_names)[0]["label_id"])
    np.savez(file, **arrays)
    lengths = {name: float(arrays[f"{name}_lengths"].mean()) for name in PARTS}
    counts = {name: len(arrays[f"{name}_lengths"]) for name in PARTS}
    return {
        "classes": len(task.label_names),
        "words": len(tokenizer),
        "texts": counts,
        "tokens a text": lengths,
    }


@dataclasses.dataclass(frozen=True)
class Part:
    """Texts as ids, and their labels."""

    ids: list[np.ndarray]
    labels: np.ndarray

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.ids]


def read(file: str, name: str) -> Part:
    """One of `PARTS`: to learn from, to choose a head's regularisation by, or to measure with."""
    import numpy as np

    with np.load(file) as stored:
        borders = np.cumsum(stored[f"{name}_lengths"])[:-1]
        return Part(np.split(stored[f"{name}_ids"], borders), stored[f"{name}_labels"])


# -- the jobs


def fine_tuning(system: str, file: str, epochs: int, precision: str = "auto", **model: Any) -> Figures:
    """Training examples a second in the last epoch, with all layers; the held-out texts after it."""
    train, validation, held_out = (read(file, name) for name in PARTS)
    if system == FASTAI:
        learner = fastai_learner(train, validation, **model)
        seconds, examples = fastai_training(learner, epochs)
        figures = {"speed": examples / seconds, "memory": peak_memory(), "precision": "fp32"}
        probabilities = fastai_probabilities(learner, held_out)
    else:
        classifier, config = own_classifier("fine-tune", precision, **model)
        seconds, used = own_training(classifier, config, train, epochs)
        figures = {"speed": len(train.ids) / seconds, "memory": peak_memory(), "precision": used}
        examples, probabilities = len(train.ids), own_probabilities(classifier, held_out)
    figures["gflops"] = work(train, model["size"], training=True) * examples / len(train.ids) / seconds
    return {**figures, **quality(probabilities, held_out)}


def frozen(system: str, file: str, epochs: int, precision: str = "auto", **model: Any) -> Figures:
    """Texts read a second by the frozen encoder, training of the head included."""
    train, validation, held_out = (read(file, name) for name in PARTS)
    if system == FASTAI:
        learner = fastai_learner(train, validation, **model)
        learner.freeze_to(-1)
        seconds, examples = fastai_training(learner, epochs)
        figures = {"speed": examples / seconds, "memory": peak_memory(), "precision": "fp32"}
        probabilities = fastai_probabilities(learner, held_out)
        flops = work(train, model["size"]) * examples / len(train.ids)
    else:
        classifier, config = own_classifier("freeze", precision, **model)
        own_probabilities(classifier, Part(train.ids[:WARM_UP], train.labels[:WARM_UP]))
        began = time.monotonic()
        used = own_freezing(classifier, config, train, validation)
        seconds, examples = time.monotonic() - began, len(train.ids) + len(validation.ids)
        figures = {"speed": examples / seconds, "memory": peak_memory(), "precision": used}
        probabilities = own_probabilities(classifier, held_out)
        flops = work(train, model["size"]) + work(validation, model["size"])
    return {**figures, "gflops": flops / seconds, **quality(probabilities, held_out)}


def prediction(system: str, file: str, precision: str = "auto", **model: Any) -> Figures:
    """Held-out texts a second, from ids to probabilities."""
    held_out = read(file, "held_out")
    first = Part(held_out.ids[:WARM_UP], held_out.labels[:WARM_UP])
    used = "fp32"
    if system == FASTAI:
        learner = fastai_learner(first, first, **model)
        fastai_probabilities(learner, first)
        began = time.monotonic()
        fastai_probabilities(learner, held_out)
    else:
        classifier, _ = own_classifier("fine-tune", precision, **model)
        used = own_precision(precision)
        own_probabilities(classifier, first, used)
        began = time.monotonic()
        own_probabilities(classifier, held_out, used)
    seconds = time.monotonic() - began
    figures = {"speed": len(held_out.ids) / seconds, "memory": peak_memory(), "precision": used}
    return {**figures, "gflops": work(held_out, model["size"]) / seconds}


def agreement(file: str, **model: Any) -> Figures:
    """Both systems with fastai's weights on some held-out texts: how far probabilities are apart, in fp32."""
    import numpy as np
    import torch

    from nlptl.families.ulmfit.conversion import convert_classifier

    some = read(file, "held_out")
    some = Part(some.ids[:WARM_UP], some.labels[:WARM_UP])
    learner = fastai_learner(some, some, **model)
    classifier, _ = own_classifier("fine-tune", "fp32", **model)
    with torch.no_grad():
        learner.model[0].module.encoder.weight.mul_(10)  # or all texts would look the same
    weights = learner.model.state_dict()
    kept = {key: value for key, value in weights.items() if not key.endswith(".module.weight_hh_l0")}
    classifier.load_state_dict(convert_classifier(kept, "in fastai's model").state_dict)
    theirs, ours = fastai_probabilities(learner, some), own_probabilities(classifier, some)
    return {"largest difference": float(np.abs(theirs - ours).max()), "spread": float(theirs[:, 0].std())}


def quality(probabilities: np.ndarray, part: Part) -> Figures:
    """Accuracy and mean log loss."""
    import numpy as np

    right = probabilities[np.arange(len(part.labels)), part.labels]
    accuracy = (probabilities.argmax(axis=1) == part.labels).mean()
    return {"accuracy": float(accuracy), "log loss": float(-np.log(right.clip(1e-12)).mean())}


def work(part: Part, size: dict[str, int], *, training: bool = False) -> float:
    """GFLOP of the LSTMs for the tokens of the texts, padding left out; training reaches back 1,440 tokens."""
    reached = sum(min(length, 20 * FASTAI_CHUNK) for length in part.lengths) if training else 0
    return (sum(part.lengths) + 2 * reached) * encoder_flops(size) / 1e9


# -- fastai


def fastai_learner(train: Part, validation: Part, classes: int, words: int, size: dict[str, int]) -> Any:
    """As fastai's tutorials make it, from random weights."""
    import torch
    from fastai.text.all import (
        AWD_LSTM,
        CrossEntropyLossFlat,
        DataLoaders,
        awd_lstm_clas_config,
        set_seed,
        text_classifier_learner,
    )

    set_seed(0)
    loaders = DataLoaders(
        fastai_loader(train, shuffle=True), fastai_loader(validation), device=torch.device("cpu")
    )
    loaders.vocab = [f"w{number}" for number in range(words)]
    config = fastai_config(awd_lstm_clas_config, size)
    return text_classifier_learner(
        loaders, AWD_LSTM, config=config, pretrained=False, n_out=classes, loss_func=CrossEntropyLossFlat()
    )


def fastai_loader(part: Part, *, shuffle: bool = False) -> Any:
    """Texts of similar length together, as its `TextBlock` has it; whole batches only where it is to train."""
    import torch
    from fastai.text.all import Pad_Chunk, SortedDL, TensorCategory, TensorText

    rows = [
        (TensorText(torch.from_numpy(ids)), TensorCategory(int(label)))
        for ids, label in zip(part.ids, part.labels, strict=True)
    ]
    whole = shuffle and len(rows) >= FASTAI_BATCH
    padding = Pad_Chunk(pad_idx=PAD, seq_len=FASTAI_CHUNK)
    return SortedDL(rows, bs=FASTAI_BATCH, shuffle=shuffle, drop_last=whole, before_batch=padding)


def fastai_training(learner: Any, epochs: int) -> tuple[float, int]:
    """Seconds of the last pass, and its examples."""
    batches = learner.dls.train
    watch = fastai_stopwatch(epochs * len(batches))
    with learner.no_bar(), learner.no_logging():
        seconds = watch.seconds(lambda: learner.fit_one_cycle(epochs, cbs=watch), last=len(batches))
    whole = len(batches) * FASTAI_BATCH if batches.drop_last else len(batches.dataset)
    return seconds, whole


def fastai_probabilities(learner: Any, part: Part) -> np.ndarray:
    """(texts, classes), in the order of the texts."""
    with learner.no_bar(), learner.no_logging():
        probabilities, _ = learner.get_preds(dl=fastai_loader(part))
    return probabilities.numpy()


# -- nlptl


def own_classifier(
    strategy: str, precision: str, classes: int, words: int, size: dict[str, int]
) -> tuple[Any, Any]:
    """A classifier with random weights, and the config of `nlptl finetune` by the family's recipes."""
    from transformers import set_seed

    from nlptl.commands.classifier_stage import classifier_architecture
    from nlptl.config import FinetuneConfig, validated, with_recipe
    from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
    from nlptl.families.ulmfit.configuration import UlmfitConfig
    from nlptl.families.ulmfit.family import UlmfitFamily

    family = UlmfitFamily()
    config = validated(FinetuneConfig, {"strategy": strategy, "device": "cpu", "precision": precision})
    for recipe in ("freeze", "finetune") if strategy == "freeze" else ("finetune",):
        config = with_recipe(config, family.recipes[recipe])
    architecture = {**own_sizes(size), **classifier_architecture(config, family)}
    set_seed(config.seed)
    model = UlmfitForSequenceClassification(
        UlmfitConfig(vocab_size=words, pad_token_id=PAD, num_labels=classes, **architecture)
    )
    return model, config


def own_examples(part: Part) -> Any:
    """The texts as `nlptl finetune` has them."""
    import numpy as np

    from nlptl.strategies.examples import Examples

    rows = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in part.ids]
    return Examples(rows, part.labels)


def own_training(classifier: Any, config: Any, train: Part, epochs: int) -> tuple[float, str]:
    """Seconds of the last pass over all texts, every layer trained from the first on, and the precision."""
    from stopwatch import Stopwatch
    from torch.utils.data import DataLoader

    from nlptl.commands.plans import training_plan
    from nlptl.training.batching import LengthBuckets, padded
    from nlptl.training.progress import Reporter
    from nlptl.training.trainers import ClassifierTrainer

    examples = own_examples(train)
    buckets = LengthBuckets(examples.lengths, config.batch_size, config.seed)
    watch = Stopwatch(epochs * len(buckets))
    with tempfile.TemporaryDirectory() as folder:
        plan = training_plan("classifier", Path(folder), config, config)
        plan = dataclasses.replace(plan, epochs=epochs, checkpoint_minutes=math.inf)  # fastai writes none
        trainer = ClassifierTrainer(
            classifier,
            plan,
            DataLoader(examples, batch_sampler=buckets, collate_fn=lambda rows: padded(rows, PAD)),
            evaluate=None,
            save=lambda path: None,
            reporter=Reporter(quiet=True),
            callbacks=[watch],
            on_epoch=buckets.set_epoch,
        )
        seconds = watch.seconds(lambda: trainer.run(resume=False), last=len(buckets))
    return seconds, plan.precision


def own_freezing(classifier: Any, config: Any, train: Part, validation: Part) -> str:
    """Features of both parts, and a head on them, as `nlptl finetune --strategy freeze` has it; the precision."""
    from nlptl.strategies.freeze import freeze
    from nlptl.training.progress import Reporter

    precision = own_precision(config.precision)
    with tempfile.TemporaryDirectory() as folder:
        freeze(
            classifier,
            own_examples(train),
            own_examples(validation),
            cached=(Path(folder) / "train", Path(folder) / "validation"),
            precision=precision,
            class_weights=None,
            seed=config.seed,
            reporter=Reporter(quiet=True),
        )
    return precision


def own_precision(name: str) -> Any:
    """What the commands predict in, which is fp32 unless asked otherwise."""
    import torch

    from nlptl.training.precision import inference_precision

    return inference_precision(name, torch.device("cpu"))


def own_probabilities(classifier: Any, part: Part, precision: Any = "fp32") -> np.ndarray:
    """(texts, classes), as `nlptl evaluate` and `predict` get them."""
    from nlptl.training.inference import class_probabilities

    return class_probabilities(classifier, own_examples(part).encodings, precision)


def main() -> None:
    """Measure, and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--data", required=True, help="labelled texts, as `nlptl finetune` takes them")
    numbers = {"texts": 512, "held-out": 256, "epochs": 2, "words": 60000}
    help_text = {"texts": "training texts, 0 for all; ", "words": "rows of the embedding; "}
    for name, value in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=value, help=f"{help_text.get(name, '')}{value} by default"
        )
    add_size_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "texts.npz")
        texts = in_child(
            prepared, data=options.data, texts=options.texts, held_out=options.held_out, file=file
        )
        if "failed" in texts:
            parser.error(texts["failed"])
        words = max(options.words, texts["words"])
        values = {"file": file, "classes": texts["classes"], "words": words, "size": size(options)}
        trained = {**values, "epochs": options.epochs}
        unit = "examples a second"
        jobs = [
            Job("all layers trained", unit, fine_tuning, trained, (*SYSTEMS, FP32)),
            Job("encoder frozen", unit, frozen, trained, (*SYSTEMS, BF16)),
            Job("prediction", unit, prediction, values, (*SYSTEMS, BF16)),
        ]
        agreed = in_child(agreement, **values)
        compare(jobs, options, packages=["fastai"], texts=texts, agreement=agreed)


if __name__ == "__main__":
    main()
