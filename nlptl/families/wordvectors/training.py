"""Word vectors by the bag of words or by skip-gram (Mikolov et al. 2013), trained by gensim, exact in resuming.

In the bag each word is told from words drawn at random by the mean of those around it. Measured on 20 million words of
movie reviews: its vectors for 100 labels are right 0.827 of the time, those of skip-gram, which took five times as
long, 0.798. On half a million words skip-gram is ahead.

A step is a slice of the text: as many tokens as a batch of windows holds, so that `batch_size` and `bptt` mean here
what they mean elsewhere. All that is drawn at random in a step depends on the seed and the step's number alone, and
one worker does all the work; so a run that was stopped, or killed, and resumed ends with the same bytes as one that was
not.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from nlptl.config import LmTuningConfig, PretrainConfig, TrainingConfig
from nlptl.errors import ConfigError, DataError, Interrupted, ModelError
from nlptl.families.wordvectors.configuration import PAD, SEP, WordVectorsConfig
from nlptl.families.wordvectors.modeling import WordVectorsModel
from nlptl.training.checkpoints import (
    PREFIX,
    drop_log_after,
    last_checkpoint,
    remove_other_checkpoints,
    restore_retired,
    written_whole,
)
from nlptl.training.interrupts import stop_on_signal
from nlptl.training.language_modeling import LanguageModelJob
from nlptl.training.progress import figures_line
from nlptl.training.runs import TrainingResult, peak_memory_mb
from nlptl.training.schedules import build_schedule
from nlptl.training.windows import Windows

SUBSAMPLING = 1e-4  # share of the text above which a word is often left out (section 2.3)
HIGHEST_RATE = 1.0
LEAST_RATE = 1e-4  # of the highest, as in the authors' program
LONGEST_SENTENCE = 10_000  # words; gensim drops what is beyond
TABLES, STATE = "tables.safetensors", "state.json"


@dataclass
class _State:
    """What has to survive a kill beside the tables."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


def check_plan(config: PretrainConfig | LmTuningConfig, run: TrainingConfig) -> None:
    """What can be told before any text is read; `train_word_vectors` relies on it.

    Args:
        config: of the training; `run`: of the whole run.

    Raises:
        ConfigError: gensim is not installed, or the config asks for what there is none of here.
    """
    if importlib.util.find_spec("gensim") is None:
        raise ConfigError("gensim is not installed", "family wordvectors", 'pip install "nlptl[wordvectors]"')
    if not config.sampled_softmax:
        cause = "word vectors are trained against sampled words"
        raise ConfigError(cause, "sampled_softmax", "set it to 5 or so")
    if isinstance(config, PretrainConfig) and config.evaluate_steps:
        raise ConfigError("word vectors have no held-out loss", "evaluate_steps", "set it to 0")
    if run.tracker != "none":
        raise ConfigError(
            "the training of word vectors is not reported to a tracker", "tracker", "set it to none"
        )
    # From a number that is not finite gensim makes an index, which ends the process.
    if (config.learning_rate or 0) > HIGHEST_RATE:
        cause = f"a rate of {config.learning_rate:g}, at which word vectors diverge"
        raise ConfigError(cause, "learning_rate", "set it to 0.05 or so")


def train_word_vectors(job: LanguageModelJob) -> TrainingResult:
    """Train the job's table; it is in the run's `model/` afterwards. Words that the text lacks keep their vectors.

    Raises:
        DataError: the text has no word of the vocabulary.
        Interrupted: the user stopped the run; its state is saved.
        ModelError: the model to go on with has vectors that are no numbers.
    """
    assert isinstance(job.model, WordVectorsModel)
    if not bool(torch.isfinite(job.model.embedding.weight).all()):
        raise ModelError("vectors that are not finite", "the model to go on with", "name another --model")
    restore_retired(job.plan.output / "model")
    run = _Run(job)
    with stop_on_signal() as stop:
        job.reporter.start(job.plan.stage, run.steps)
        try:
            while run.state.step < run.steps:
                run.one_step()
                due = time.monotonic() - run.saved >= 60 * job.plan.checkpoint_minutes
                if due or stop.asked or run.state.step == run.steps:
                    run.save_checkpoint()
                if stop.asked:
                    break
            else:
                run.save_model()
        finally:
            job.reporter.finish()
    if stop.asked:  # even at the last step: a stage may follow that nobody wants now
        raise Interrupted("stopped, and saved", f"step {run.state.step} of the {job.plan.stage}")
    return run.result()


class _Run:
    """The tables of a run, where it stands, and one step of it."""

    def __init__(self, job: LanguageModelJob) -> None:
        assert isinstance(job.model, WordVectorsModel) and isinstance(job.windows, Windows)
        self.job, self.plan, self.windows = job, job.plan, job.windows
        self.table = job.model.embedding.weight
        self.steps_an_epoch = self.windows.windows
        steps = self.steps_an_epoch * self.plan.epochs
        self.steps = steps if self.plan.max_steps is None else min(self.plan.max_steps, steps)
        self.schedule = build_schedule(self.plan.schedule, self.steps)

        counts = job.counts.numpy().copy()
        counts[[PAD, SEP]] = 0
        self.rows = np.flatnonzero(counts)  # those of the table whose words occur
        if not len(self.rows):
            raise DataError("no word of the vocabulary in it", "the language model's text", "give more text")
        self.place = np.full(len(counts), -1, dtype=np.int64)
        self.place[self.rows] = np.arange(len(self.rows))
        self.gensim = _gensim_model(counts[self.rows], job.model.config, job.candidates, self.plan.seed)

        kept = last_checkpoint(self.plan.output / "checkpoints") if job.resume else None
        self.state = _State()
        if kept is None:
            self.gensim.wv.vectors[:] = self.table.detach().cpu().numpy()[self.rows]
        else:
            self.state = _State(**json.loads((kept / STATE).read_text(encoding="utf-8")))
            tables = load_file(kept / TABLES)
            self.gensim.wv.vectors[:], self.gensim.syn1neg[:] = tables["vectors"], tables["contexts"]
        drop_log_after(self.plan.output / "log.jsonl", self.state.step)
        self.began = self.saved = time.monotonic()
        self.first, self.before = self.state.step, self.state.seconds

    def one_step(self) -> None:
        """Train on the next slice, and log it."""
        state, gensim = self.state, self.gensim
        sentences = list(self._sentences(self._slice(state.step)))
        tokens = sum(map(len, sentences))
        rates = [self._rate(state.step), self._rate(state.step + 1)]
        loss = 0.0
        if tokens:
            gensim.random = np.random.RandomState([self.plan.seed, state.step])
            trained, _ = gensim.train(
                sentences,
                total_words=tokens,
                epochs=1,
                start_alpha=rates[0],
                end_alpha=rates[1],
                compute_loss=True,
            )
            loss = float(gensim.get_latest_training_loss()) / max(1, trained)
        state.step += 1
        state.tokens += tokens
        state.seconds = self.before + time.monotonic() - self.began
        self._report(loss, rates[1])

    def _slice(self, step: int) -> int:
        """Which slice of the text a step reads: each epoch all of them, in an order of its own, since neighbours in a
        collection are often alike and the last that are read would weigh the most."""
        epoch, place = divmod(step, self.steps_an_epoch)
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(self.steps_an_epoch)
        return int(order[place])

    def _sentences(self, number: int) -> Iterator[list[int]]:
        """The texts, or parts of texts, in one slice, as places in gensim's vocabulary."""
        size = self.windows.rows * self.windows.length
        stop = (number + 1) * size if number + 1 < self.steps_an_epoch else len(self.windows.ids)
        ids = np.asarray(self.windows.ids[number * size : stop], dtype=np.int64)
        for text in np.split(self.place[ids], np.flatnonzero(ids == SEP)):
            words = text[text >= 0].tolist()
            for first in range(0, len(words), LONGEST_SENTENCE):
                yield words[first : first + LONGEST_SENTENCE]

    def _rate(self, step: int) -> float:
        return self.plan.learning_rate * max(LEAST_RATE, self.schedule(step))

    def _report(self, loss: float, rate: float) -> None:
        state, plan = self.state, self.plan
        epoch = state.step / self.steps_an_epoch
        ends_epoch = state.step % self.steps_an_epoch == 0
        line: dict[str, Any] = {"step": state.step, "epoch": round(epoch, 4), "loss": loss}
        line |= {"learning_rates": [rate], "trained": [True]}
        line["tokens_per_second"] = round(state.tokens / max(state.seconds, 1e-9), 1)
        if state.step % plan.log_steps == 0 or ends_epoch or state.step == self.steps:
            with open(plan.output / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        left = (time.monotonic() - self.began) / (state.step - self.first) * (self.steps - state.step)
        self.job.reporter.advance(state.step, figures_line(line), left)
        if ends_epoch or state.step == self.steps:
            self.job.reporter.note(f"{plan.stage}, epoch {epoch:.3g}: {figures_line(line)}")

    def save_checkpoint(self) -> None:
        """All that resuming needs, in a folder that appears whole; only the last one is kept."""
        tables = {"vectors": self.gensim.wv.vectors, "contexts": self.gensim.syn1neg}
        folder = self.plan.output / "checkpoints" / f"{PREFIX}{self.state.step}"
        with written_whole(folder) as partial:
            save_file(tables, partial / TABLES)
            (partial / STATE).write_text(json.dumps(asdict(self.state)), encoding="utf-8")
        remove_other_checkpoints(folder)
        self.saved = time.monotonic()

    def save_model(self) -> None:
        """Put the trained vectors into the table, and write the run's model."""
        with torch.no_grad():
            vectors = torch.from_numpy(self.gensim.wv.vectors).to(self.table)
            self.table[torch.from_numpy(self.rows).to(self.table.device)] = vectors
        with written_whole(self.plan.output / "model") as folder:
            self.job.save(folder)

    def result(self) -> TrainingResult:
        """What the training took; the last model is the one that is kept."""
        state = self.state
        return TrainingResult(
            steps=state.step,
            epochs=state.step / self.steps_an_epoch,
            tokens=state.tokens,
            seconds=state.seconds,
            peak_memory_mb=peak_memory_mb(torch.device("cpu")),
            history=[],
            best_step=state.step,
        )


def _gensim_model(counts: NDArray[np.int64], config: WordVectorsConfig, negative: int, seed: int) -> Any:
    """A model whose words are the numbers 0, 1, ..., with these counts."""
    from gensim.models import Word2Vec

    # Its warnings are about what is done here on purpose: short calls, each with rates of its own.
    logging.getLogger("gensim").setLevel(logging.ERROR)
    model = Word2Vec(
        vector_size=config.embedding_size,
        sg=int(config.skip_gram),
        negative=negative,
        window=config.window,
        sample=SUBSAMPLING,
        min_count=1,
        sorted_vocab=0,
        workers=1,
        seed=seed,
    )
    model.build_vocab_from_freq(dict(enumerate(counts.tolist())))
    model.lifecycle_events = None  # one entry a call otherwise
    return model
