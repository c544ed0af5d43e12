"""What training a language model and training a classifier add to a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nlptl.training.recurrent_state import detached
from nlptl.training.run_trainer import RunTrainer


class LanguageModelTrainer(RunTrainer):
    """Truncated back-propagation through time: state goes in, comes out, and is detached between windows.

    Args:
        draw_candidates: for a sampled softmax: called with the step's number, its result is given to the model.
    """

    def __init__(
        self, *args: Any, draw_candidates: Callable[[int], Any] | None = None, **kwargs: Any
    ) -> None:
        self.draw_candidates = draw_candidates
        super().__init__(*args, **kwargs)

    def forward(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        """One window of every stream."""
        extra: dict[str, Any] = {}
        if self.draw_candidates is not None:
            extra["candidates"] = self.draw_candidates(self.state.global_step)
        if self.recurrent_state is not None:
            extra["state"] = self.recurrent_state
        outputs = model(**inputs, **extra)
        self.recurrent_state = detached(outputs.get("state"))
        return outputs


class ClassifierTrainer(RunTrainer):
    """Classification; `class_weights` (classes,) go to the model's loss."""

    leaves_parameters_out = True  # those of frozen groups, and of layers above the one that a head reads

    def __init__(self, *args: Any, class_weights: Tensor | None = None, **kwargs: Any) -> None:
        self.class_weights = class_weights
        super().__init__(*args, **kwargs)

    def forward(self, model: nn.Module, inputs: dict[str, Any]) -> Any:
        """One batch of documents."""
        extra = {} if self.class_weights is None else {"class_weights": self.class_weights}
        return model(**inputs, **extra)
