"""Optimizers that torch does not have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class OpenAIAdam(torch.optim.AdamW):
    """AdamW as GPT's code has it (openai/finetune-transformer-lm, opt.py): weight decay carries the bias correction.

    There the corrected rate, the rate times sqrt(1 - beta2^t) / (1 - beta1^t) at a parameter's step t, multiplies the
    decay too. torch decays by the rate alone, so that each step is given a decay that makes up for it.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        groups = self.param_groups
        self.param_groups = [part for group in groups for part in self._corrected(group)]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups

    def _corrected(self, group: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The group, in parts of parameters that have made the same number of steps, with this step's decay."""
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not moving or not group["weight_decay"]:
            yield group
            return
        zero = torch.zeros((), device=moving[0].device)
        done = torch.stack([self.state[p]["step"] if self.state[p] else zero for p in moving]).tolist()
        parts: dict[int, list[Tensor]] = defaultdict(list)
        for parameter, steps in zip(moving, done, strict=True):
            parts[int(steps) + 1].append(parameter)
        first, second = group["betas"]
        for step, parameters in parts.items():
            correction = (1 - second**step) ** 0.5 / (1 - first**step)
            yield {**group, "params": parameters, "weight_decay": group["weight_decay"] * correction}
