"""The Trainer of `transformers`, made exact in resuming, whole in writing and plain in reporting; for any family."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.data_loader import prepare_data_loader
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME

from nlptl import processes
from nlptl.errors import Interrupted, RunFailed
from nlptl.training.allocation import keep_freed_memory
from nlptl.training.batching import STANDS_IN, own_batches
from nlptl.training.checkpoints import (
    PREFIX,
    drop_log_after,
    last_checkpoint,
    remove_other_checkpoints,
    restore_retired,
    written_whole,
)
from nlptl.training.housekeeping import Housekeeping
from nlptl.training.interrupts import StopRequest, stop_on_signal
from nlptl.training.models import LayeredModel
from nlptl.training.optimizers import OpenAIAdam
from nlptl.training.param_groups import param_groups
from nlptl.training.precision import autocast
from nlptl.training.progress import Reporter, figures_line
from nlptl.training.recurrent_state import joined, on_cpu, own_streams
from nlptl.training.runs import Evaluation, TrainingPlan, TrainingResult, peak_memory_mb
from nlptl.training.schedules import build_schedule

OWN_STATE = "nlptl_state.json"
RECURRENT_STATE = "recurrent_state.pt"
# fp16 finds its scale by halving it from 65,536 whenever gradients overflow: after so many halvings nothing is left.
MOST_SKIPPED_IN_A_ROW = 20


@dataclass
class RunState:
    """What has to survive a kill beside what the Trainer keeps; JSON in every checkpoint."""

    tokens: int = 0
    seconds: float = 0.0
    best: list[float] | None = None
    best_step: int = 0
    evaluations_since_best: int = 0
    stopped_early: bool = False
    skipped: int = 0
    skipped_in_a_row: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class RunTrainer(Trainer):
    """Trains all layer groups with their own rates; checkpoints, logs, evaluates and stops as this project does.

    Several processes have a part of each batch: gradients and the loss are averaged over them, and the leader alone
    writes and decides.

    Args:
        model: with `layer_groups()`, bottom to top.
        batches: the training batches, the same in every pass but for what the `on_epoch` hooks change.
        evaluate: called at the end of each epoch, by all processes; the best model so far is kept in `model/`.
        save: writes a model folder (weights, tokenizer, config) into the path it is given.
        on_epoch: called with the number of the epoch that begins.
    """

    leaves_parameters_out: ClassVar[bool] = False
    """Whether a step may have no use for some parameters, of which processes have to tell each other."""

    def __init__(
        self,
        model: LayeredModel,
        plan: TrainingPlan,
        batches: DataLoader[Any],
        *,
        evaluate: Callable[[], Evaluation] | None,
        save: Callable[[Path], None],
        reporter: Reporter,
        callbacks: Sequence[TrainerCallback] = (),
        on_epoch: Callable[[int], None] | None = None,
    ) -> None:
        keep_freed_memory()
        self.plan, self.batches, self.reporter = plan, batches, reporter
        self.evaluate_model, self.save_folder, self.on_epoch = evaluate, save, on_epoch
        self.layered = model
        self.run_state = RunState()
        self.stop: StopRequest = StopRequest()
        self.recurrent_state: Any = None
        self.stands_in = False
        arguments = _arguments(plan, len(batches), self.leaves_parameters_out)
        super().__init__(model=model, args=arguments, callbacks=[*callbacks, Housekeeping(self)])
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def run(self, resume: bool) -> TrainingResult:
        """Train to the end, from the last checkpoint where `resume` finds one.

        Raises:
            Interrupted: the user stopped the run; its state is saved.
            RunFailed: the loss diverged, or memory ran out.
        """
        checkpoint = processes.first(lambda: self._place_to_go_on(resume))
        if processes.count() > 1:
            # Each drops units of its own; where as many go on as there were, their random numbers are restored.
            set_seed((self.plan.seed + processes.number()) % 2**32)
        self.began = self.saved = time.monotonic()
        self.first_step = 0  # of this process
        with stop_on_signal() as self.stop:
            try:
                if checkpoint is None or not self._read_run_state(checkpoint).stopped_early:
                    self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            except torch.OutOfMemoryError as error:
                raise _out_of_memory(self.plan.stage) from error
            except RuntimeError as error:
                if "can't allocate memory" in str(error):
                    raise _out_of_memory(self.plan.stage) from error
                raise
            finally:
                self.reporter.finish()
        (stopped,) = processes.is_any(self.stop.asked)
        if stopped:  # even at the last step: a stage may follow that nobody wants now
            raise Interrupted("stopped, and saved", f"step {self.state.global_step} of the {self.plan.stage}")
        if self.run_state.skipped:
            self.reporter.note(
                f"{self.run_state.skipped:,} of {self.state.global_step:,} steps of the {self.plan.stage} were "
                "skipped: their gradients were not finite"
            )
        return TrainingResult(
            steps=self.state.global_step,
            epochs=float(self.state.epoch or 0),
            tokens=self.run_state.tokens,
            seconds=self._seconds(),
            peak_memory_mb=peak_memory_mb(self.plan.device),
            history=self.run_state.history,
            best_step=self.run_state.best_step,
        )

    def _place_to_go_on(self, resume: bool) -> Path | None:
        """The last checkpoint, where the run is to go on; what was written after it is put right."""
        restore_retired(self.plan.output / "model")
        checkpoint = last_checkpoint(self.plan.output / "checkpoints") if resume else None
        done = 0 if checkpoint is None else int(checkpoint.name.removeprefix(PREFIX))
        drop_log_after(self.plan.output / "log.jsonl", done)
        return checkpoint

    # -- what the Trainer asks for

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's part of the batches, on its device."""
        # Accelerate would give each process batches of its own, as large as one process's.
        prepared: DataLoader[Any] = prepare_data_loader(
            own_batches(self.batches),
            device=self.args.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
        )
        return prepared

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The plan's optimizer over every layer group, frozen or not, so that unfreezing and resuming find the same
        groups."""
        if self.optimizer is None:
            plan = self.plan
            groups = param_groups(
                self.layered.layer_groups(), plan.learning_rate, plan.discriminative_decay, plan.weight_decay
            )
            if plan.optimizer == "adagrad":  # bilm-tf's, in whose recipe the sums begin at 1
                self.optimizer = torch.optim.Adagrad(groups, initial_accumulator_value=1.0)
            else:
                kind = OpenAIAdam if plan.optimizer == "openai-adam" else torch.optim.AdamW
                fused = plan.device.type in ("cpu", "cuda")
                self.optimizer = kind(groups, betas=plan.betas, eps=1e-8, fused=fused)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The plan's schedule as a factor on every group's own rate."""
        if self.lr_scheduler is None:
            shape = build_schedule(self.plan.schedule, num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.create_optimizer(), shape)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The model's own loss, in the plan's precision."""
        self.stands_in = bool(inputs.pop(STANDS_IN))
        with (
            processes.part_of_batch(counts=not self.stands_in),
            autocast(self.plan.device, self.plan.precision),
        ):
            outputs = self.forward(model, inputs)
        mask, ids = inputs.get("attention_mask"), inputs["input_ids"]
        tokens = int(mask.sum()) if mask is not None else ids.shape[0] * ids.shape[1]
        self.run_state.tokens += processes.total(0 if self.stands_in else tokens)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def forward(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        """One call of the model; a subclass adds what its stage needs."""
        return model(**inputs)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> float:
        """The norm of the step's gradients; under mixed precision, where it is not finite, the step moves nothing."""
        norm = float(super()._get_grad_norm(model, grad_norm=grad_norm))
        if self.plan.precision != "fp32":
            self._skip_unless_finite(model, norm)
        return norm

    def _skip_unless_finite(self, model: nn.Module, norm: float) -> None:
        state = self.run_state
        if math.isfinite(norm):
            state.skipped_in_a_row = 0
            return
        state.skipped += 1
        state.skipped_in_a_row += 1
        step = self.state.global_step + 1
        if state.skipped_in_a_row > MOST_SKIPPED_IN_A_ROW:
            cause = (
                f"gradients in {self.plan.precision} were not finite {state.skipped_in_a_row} times in a row"
            )
            raise processes.reported_once(self._diverged(cause, step))
        model.zero_grad()
        self.recurrent_state = None  # it may not be finite, and would spoil the steps to come
        self.reporter.note(
            f"step {step} of the {self.plan.stage} is skipped: its gradients are not finite "
            f"({state.skipped_in_a_row} of at most {MOST_SKIPPED_IN_A_ROW} in a row)"
        )

    # -- logging

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One line of `log.jsonl`: step, epoch, loss, every layer group's rate, which are trained, tokens a second."""
        if "loss" not in logs and "train_loss" in logs:
            return  # the Trainer's own summary at the end, which the result holds
        if not math.isfinite(logs.get("loss", 0.0)):
            raise processes.reported_once(self._diverged(f"the loss is {logs['loss']}"))
        groups = self.layered.layer_groups()
        line = {"step": self.state.global_step, "epoch": round(float(self.state.epoch or 0), 4)}
        # JSON has no word for a norm that is not finite.
        line |= {key: value if math.isfinite(value) else None for key, value in logs.items()}  # type: ignore[misc]
        line.pop("learning_rate", None)
        if self.run_state.skipped:
            line["skipped"] = self.run_state.skipped
        if self.run_state.skipped_in_a_row >= self.plan.log_steps:
            line.pop("loss", None)  # there is none: all steps since the last line were skipped
        line["learning_rates"] = self._rates()  # type: ignore[assignment]
        line["trained"] = [any(p.requires_grad for p in group) for group in groups]  # type: ignore[assignment]
        line["tokens_per_second"] = round(self.run_state.tokens / max(self._seconds(), 1e-9), 1)
        self._write_log(line)
        super().log({**logs, "learning_rate": self._rates()[-1]}, start_time)
        self._show(line)

    def _write_log(self, line: dict[str, Any]) -> None:
        if processes.is_leader():
            with open(self.plan.output / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _show(self, line: dict[str, Any]) -> None:
        done, total = self.state.global_step, self.state.max_steps
        since = time.monotonic() - self.began
        fresh = done - self.first_step
        left = since / fresh * (total - done) if fresh else None
        self.reporter.advance(done, figures_line(line), left)

    def _rates(self) -> list[float]:
        """The present rate of each layer group, bottom to top."""
        rates = {group["level"]: group["lr"] for group in self.create_optimizer().param_groups}
        return [rates[level] for level in sorted(rates)]

    def _diverged(self, cause: str, step: int | None = None) -> RunFailed:
        kept = last_checkpoint(self.plan.output / "checkpoints")
        lower = "a lower --learning-rate" + ("" if self.plan.precision == "fp32" else " or --precision fp32")
        return RunFailed(
            cause,
            f"step {step or self.state.global_step} of the {self.plan.stage}, rate {self._rates()[-1]:.2g}",
            f"start afresh with {lower} and --force; the last good checkpoint is {kept or 'none'}",
        )

    def _seconds(self) -> float:
        return self.run_state.seconds + time.monotonic() - self.began

    # -- evaluation and checkpoints

    def evaluate_and_keep(self) -> bool:
        """Evaluate on held-out data and keep the model if it is the best so far; False when the run is to stop."""
        if self.evaluate_model is None:
            return True
        self.layered.eval()
        evaluation = processes.told(self.evaluate_model())
        if not all(map(math.isfinite, evaluation.score)):
            raise processes.reported_once(self._diverged(f"the validation figures are {evaluation.figures}"))
        state = self.run_state
        state.history.append(
            {"step": self.state.global_step, "tokens_seen": state.tokens, **evaluation.figures}
        )
        state.evaluations_since_best += 1
        if state.best is None or list(evaluation.score) > state.best:
            state.best, state.best_step = list(evaluation.score), self.state.global_step
            state.evaluations_since_best = 0
            processes.first(self._keep_model)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in evaluation.figures.items())
        best = "" if state.evaluations_since_best else " (best so far)"
        self.reporter.note(f"{self.plan.stage}, epoch {float(self.state.epoch or 0):.3g}: {figures}{best}")
        self._write_log(
            {
                "step": self.state.global_step,
                "epoch": self.state.epoch,
                "evaluation": evaluation.figures,
            }
        )
        state.stopped_early = 0 < self.plan.early_stopping <= state.evaluations_since_best
        return not state.stopped_early

    def _keep_model(self) -> None:
        with written_whole(self.plan.output / "model") as folder:
            self.save_folder(folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """All that resuming needs, in a folder that appears whole; only the last one is kept."""
        random_states = self._random_states()
        recurrent = processes.gathered(None if self.stands_in else on_cpu(self.recurrent_state))
        processes.first(lambda: self._write_checkpoint(random_states, joined(recurrent)))
        self.saved = time.monotonic()

    def _write_checkpoint(self, random_states: list[tuple[str, bytes]], recurrent_state: Any) -> None:
        tensors = [*self.layered.parameters(), *self.layered.buffers()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise self._diverged("weights are no longer finite")
        folder = self.plan.output / "checkpoints" / f"{PREFIX}{self.state.global_step}"
        with written_whole(folder) as partial:
            self.layered.save_pretrained(partial)
            self._save_optimizer_and_scheduler(str(partial))
            self._save_scaler(str(partial))
            for name, state in random_states:
                (partial / name).write_bytes(state)
            self.state.save_to_json(str(partial / TRAINER_STATE_NAME))
            seconds = self._seconds()
            kept = {**self.run_state.__dict__, "seconds": seconds}
            (partial / OWN_STATE).write_text(json.dumps(kept), encoding="utf-8")
            if recurrent_state is not None:
                torch.save(recurrent_state, partial / RECURRENT_STATE)
        remove_other_checkpoints(folder)

    def _random_states(self) -> list[tuple[str, bytes]]:
        """The files of all processes' random numbers, by their names, for the leader to write."""
        with tempfile.TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            (file,) = Path(folder).iterdir()
            return processes.gathered((file.name, file.read_bytes()))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Those of each process, where there are as many as there were."""
        if checkpoint is not None and len(list(Path(checkpoint).glob("rng_state*"))) == processes.count():
            super()._load_rng_state(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.run_state = self._read_run_state(Path(checkpoint))
            recurrent = Path(checkpoint) / RECURRENT_STATE
            if recurrent.is_file():
                whole = torch.load(recurrent, weights_only=True, map_location=self.plan.device)
                self.recurrent_state = own_streams(whole)

    def _read_run_state(self, checkpoint: Path) -> RunState:
        self.run_state = RunState(**json.loads((checkpoint / OWN_STATE).read_text(encoding="utf-8")))
        if self.run_state.stopped_early:
            self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        return self.run_state


def _out_of_memory(stage: str) -> RunFailed:
    return RunFailed("out of memory", f"the {stage}", "lower --batch-size or --bptt, or use --precision bf16")


def _arguments(plan: TrainingPlan, steps_an_epoch: int, leaves_parameters_out: bool) -> TrainingArguments:
    steps = plan.epochs * steps_an_epoch
    arguments = TrainingArguments(
        output_dir=str(plan.output / "checkpoints"),
        num_train_epochs=plan.epochs,
        max_steps=steps if plan.max_steps is None else min(plan.max_steps, steps),
        max_grad_norm=plan.gradient_clip,
        fp16=plan.precision == "fp16",
        use_cpu=plan.device.type == "cpu",
        seed=plan.seed,
        logging_steps=plan.log_steps,
        logging_nan_inf_filter=plan.precision != "fp32",  # the loss of a step that is skipped is not averaged
        save_strategy="no",
        eval_strategy="no",
        report_to=plan.tracker,
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=leaves_parameters_out,
        ddp_broadcast_buffers=False,  # statistics are those of the whole batch, and so the same everywhere
    )
    # Several visible GPUs would make the Trainer split each batch over them, and recurrent streams with it.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
