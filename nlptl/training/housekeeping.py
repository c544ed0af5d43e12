"""When a training run evaluates, saves and stops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nlptl import processes

if TYPE_CHECKING:
    from nlptl.training.run_trainer import RunTrainer


class Housekeeping(TrainerCallback):
    """A step that ends an epoch leaves all three to the end of that epoch, so that no checkpoint lies between an
    epoch's last step and its evaluation.
    """

    def __init__(self, trainer: RunTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.first_step = state.global_step
        self.trainer.reporter.start(self.trainer.plan.stage, state.max_steps)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        epoch = float(state.epoch or 0)
        if epoch == int(epoch):
            self.trainer.recurrent_state = None  # a resumed epoch keeps the state that the checkpoint had
        if self.trainer.on_epoch is not None:
            self.trainer.on_epoch(int(epoch))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        ends_epoch = float(state.epoch or 0) == int(state.epoch or 0)
        if ends_epoch:
            control.should_training_stop = False
            return
        last = state.global_step >= state.max_steps
        every = self.trainer.plan.evaluate_steps
        if last or (every and state.global_step % every == 0):
            self.trainer.evaluate_and_keep()
        self._save_or_stop(control, last)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if float(state.epoch or 0) != int(state.epoch or 0):
            return  # stopped within the epoch
        control.should_log = True
        go_on = self.trainer.evaluate_and_keep()
        last = state.global_step >= state.max_steps or not go_on
        self._save_or_stop(control, last)
        control.should_training_stop = control.should_training_stop or last

    def _save_or_stop(self, control: TrainerControl, last: bool) -> None:
        trainer = self.trainer
        due = time.monotonic() - trainer.saved >= 60 * trainer.plan.checkpoint_minutes
        due, trainer.stop.asked = processes.is_any(due and processes.is_leader(), trainer.stop.asked)
        control.should_save = due or last or trainer.stop.asked
        if trainer.stop.asked:
            control.should_training_stop = True
