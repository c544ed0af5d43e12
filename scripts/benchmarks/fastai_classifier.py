"""Text classification with an AWD-LSTM: fastai's `text_classifier_learner` beside nlptl, on the same token ids.

Three jobs, each system by its own defaults (batches of 64 and of 32, its rates and dropouts) from random weights of
400/1152/3. All layers trained: of several passes over the texts the last is timed. Encoder frozen: fastai trains its
head through the frozen encoder, and one pass is timed; nlptl computes the features of training and validation texts
once and fits a head on them, and all of it is timed. After both the held-out texts are classified. Prediction:
probabilities of the held-out texts.

Texts are numericalised once, by fastai's words. Memory is that of the process itself, without the loaders that fastai
starts beside it. `agreement` in the JSON is how far apart the probabilities are where both have the same weights.

needs: pip install ".[benchmarks]"
usage: python scripts/benchmarks/fastai_classifier.py --data FOLDER --output classifier.json [--rounds 5]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from awd_lstm import Size, add_size_options, encoder_flops, size
from numericalised import PARTS, REACH, Part, prepared, read
from side_by_side import Figures, Job, System, compare, in_child, option_parser, peak_memory

FASTAI = "fastai"
SYSTEMS = (System(FASTAI, {"system": FASTAI}, FASTAI), System("nlptl", {"system": "nlptl"}, FASTAI))
FP32 = System("nlptl, fp32", {"system": "nlptl", "precision": "fp32"}, FASTAI)
BF16 = System("nlptl, bf16", {"system": "nlptl", "precision": "bf16"}, FASTAI)
WARM_UP = 32  # texts that are read before prediction is timed


def built(system: str, train: Part, validation: Part, **model: Any) -> Any:
    """A classifier of either system; no process imports both but that of `agreement`."""
    if system == FASTAI:
        from classifier_by_fastai import Classifier as Fastai

        return Fastai(train, validation, **model)
    from classifier_by_nlptl import Classifier as Own

    return Own(train, validation, **model)


def fine_tuning(system: str, file: str, epochs: int, **model: Any) -> Figures:
    """Training examples a second in the last epoch, with all layers; the held-out texts after it."""
    train, validation, held_out = (read(file, name) for name in PARTS)
    classifier = built(system, train, validation, **model)
    seconds, examples = classifier.fine_tune(epochs)
    figures = {"speed": examples / seconds, "memory": peak_memory(), "precision": classifier.trained_in}
    flops = work(train, model["size"], training=True) * examples / len(train.ids)
    return {**figures, "gflops": flops / seconds, **quality(classifier, held_out)}


def frozen(system: str, file: str, epochs: int, **model: Any) -> Figures:
    """Texts read a second by the frozen encoder, training of the head included."""
    train, validation, held_out = (read(file, name) for name in PARTS)
    classifier = built(system, train, validation, strategy="freeze", **model)
    seconds, texts = classifier.freeze(epochs)
    figures = {"speed": texts / seconds, "memory": peak_memory(), "precision": classifier.precision}
    flops = work(train, model["size"]) * texts / len(train.ids)  # validation texts are as long
    return {**figures, "gflops": flops / seconds, **quality(classifier, held_out)}


def prediction(system: str, file: str, **model: Any) -> Figures:
    """Held-out texts a second, from ids to probabilities."""
    held_out = read(file, "held_out")
    first = held_out.beginning(WARM_UP)
    classifier = built(system, first, first, **model)
    classifier.probabilities(first)
    began = time.monotonic()
    classifier.probabilities(held_out)
    seconds = time.monotonic() - began
    figures = {"speed": len(held_out.ids) / seconds, "memory": peak_memory()}
    flops = work(held_out, model["size"])
    return {**figures, "precision": classifier.precision, "gflops": flops / seconds}


def agreement(file: str, **model: Any) -> Figures:
    """Both systems with fastai's weights on some held-out texts: how far probabilities are apart, in fp32."""
    import torch

    from nlptl.families.ulmfit.conversion import convert_classifier

    some = read(file, "held_out").beginning(WARM_UP)
    theirs, ours = (built(system, some, some, **model) for system in (FASTAI, "nlptl"))
    network = theirs.learner.model
    with torch.no_grad():
        network[0].module.encoder.weight.mul_(10)  # or all texts would look the same
    weights = network.state_dict()
    # fastai keeps the recurrent matrices under the name of `…_raw`, and what dropout left of them under this one.
    kept = {key: value for key, value in weights.items() if not key.endswith(".module.weight_hh_l0")}
    ours.model.load_state_dict(convert_classifier(kept, "in fastai's model").state_dict)
    expected = theirs.probabilities(some)
    apart = np.abs(expected - ours.probabilities(some)).max()
    return {"largest difference": float(apart), "spread": float(expected[:, 0].std())}


def quality(classifier: Any, part: Part) -> Figures:
    """Accuracy and mean log loss."""
    probabilities = classifier.probabilities(part)
    right = probabilities[np.arange(len(part.labels)), part.labels]
    accuracy = (probabilities.argmax(axis=1) == part.labels).mean()
    return {"accuracy": float(accuracy), "log loss": float(-np.log(right.clip(1e-12)).mean())}


def work(part: Part, size: Size, *, training: bool = False) -> float:
    """GFLOP of the LSTMs for the tokens of the texts, padding left out; training reaches back 1,440 tokens."""
    reached = sum(min(length, REACH) for length in part.lengths) if training else 0
    return (sum(part.lengths) + 2 * reached) * encoder_flops(size) / 1e9


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
