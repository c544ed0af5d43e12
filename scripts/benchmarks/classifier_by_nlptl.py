"""nlptl's ULMFiT classifier as `nlptl finetune` makes and trains it by the family's recipes, from random weights."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from awd_lstm import Size, own_sizes
from numericalised import PAD, Part
from stopwatch import Stopwatch
from torch.utils.data import DataLoader
from transformers import set_seed

from nlptl.commands.classifier_stage import classifier_architecture
from nlptl.commands.plans import given, training_plan
from nlptl.config import FinetuneConfig, validated, with_recipe
from nlptl.families.ulmfit.classification import UlmfitForSequenceClassification
from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.family import UlmfitFamily
from nlptl.strategies.examples import Examples
from nlptl.strategies.freeze import freeze
from nlptl.training.batching import LengthBuckets, padded
from nlptl.training.inference import class_probabilities
from nlptl.training.precision import inference_precision
from nlptl.training.progress import Reporter
from nlptl.training.trainers import ClassifierTrainer

WARM_UP = 32  # texts


class Classifier:
    """A classifier and the config of its run.

    Args:
        words: rows of the embedding.
        strategy: as of `nlptl finetune`.
        precision: of training where the strategy is to fine-tune, else of what the frozen body computes.
    """

    def __init__(
        self,
        train: Part,
        validation: Part,
        *,
        classes: int,
        words: int,
        size: Size,
        strategy: str = "fine-tune",
        precision: str = "auto",
    ) -> None:
        family, self.train, self.validation = UlmfitFamily(), train, validation
        config = validated(FinetuneConfig, {"strategy": strategy, "device": "cpu", "precision": precision})
        for recipe in ("freeze", "finetune") if strategy == "freeze" else ("finetune",):
            config = with_recipe(config, family.recipes[recipe])
        self.config = config
        set_seed(config.seed)
        values = {**own_sizes(size), **classifier_architecture(config, family)}
        self.model = UlmfitForSequenceClassification(
            UlmfitConfig(vocab_size=words, pad_token_id=PAD, num_labels=classes, **values)
        )
        self.precision = inference_precision(precision, torch.device("cpu"))

    def fine_tune(self, epochs: int) -> tuple[float, int]:
        """Train all layers from the first pass on: seconds of the last one, and how many texts it reads."""
        examples, config = _examples(self.train), self.config
        buckets = LengthBuckets(examples.lengths, given(config.batch_size, "batch_size"), config.seed)
        watch = Stopwatch(epochs * len(buckets))
        with tempfile.TemporaryDirectory() as folder:
            plan = training_plan("classifier", Path(folder), config, config)
            plan = dataclasses.replace(plan, epochs=epochs, checkpoint_minutes=math.inf)  # fastai writes none
            trainer = ClassifierTrainer(
                self.model,
                plan,
                DataLoader(examples, batch_sampler=buckets, collate_fn=lambda rows: padded(rows, PAD)),
                evaluate=None,
                save=lambda path: None,
                reporter=Reporter(quiet=True),
                callbacks=[watch],
                on_epoch=buckets.set_epoch,
            )
            seconds = watch.seconds(lambda: trainer.run(resume=False), last=len(buckets))
        # What is trained in bf16 predicts in fp32 all the same, as in `nlptl evaluate`.
        self.trained_in, self.precision = plan.precision, "fp32"
        return seconds, len(examples)

    def freeze(self, epochs: int) -> tuple[float, int]:
        """Features and a head on them: seconds of it all, and how many texts are read, each of them once."""
        self.probabilities(Part(self.train.ids[:WARM_UP], self.train.labels[:WARM_UP]))
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            freeze(
                self.model,
                _examples(self.train),
                _examples(self.validation),
                cached=(Path(folder) / "train", Path(folder) / "validation"),
                precision=self.precision,
                class_weights=None,
                seed=self.config.seed,
                reporter=Reporter(quiet=True),
            )
        return time.monotonic() - began, len(self.train.ids) + len(self.validation.ids)

    def probabilities(self, part: Part) -> np.ndarray:
        """(texts, classes), as `nlptl evaluate` and `predict` get them."""
        return class_probabilities(self.model, _examples(part).encodings, self.precision)


def _examples(part: Part) -> Examples:
    """The texts as `nlptl finetune` has them."""
    rows = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in part.ids]
    return Examples(rows, part.labels)
