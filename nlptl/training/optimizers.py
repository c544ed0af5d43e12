"""Optimizers that torch does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class OpenAIAdam(torch.optim.AdamW):
    """AdamW as GPT's code has it (openai/finetune-transformer-lm, opt.py): weight decay carries the bias correction.

    There the corrected rate, the rate times sqrt(1 - beta2^t) / (1 - beta1^t) at a parameter's step t, multiplies the
    decay too. torch decays by the rate alone; here each parameter is decayed first by what is wanted, and torch then
    steps without any. A step that a gradient scaler (fp16) finds to overflow changes nothing, as in torch.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        decays = [group["weight_decay"] for group in self.param_groups]
        # A fused step is called with an overflow too, and skips the update within; a scaler leaves this mark.
        overflow = bool(getattr(self, "found_inf", False))
        for group in self.param_groups:
            if group["weight_decay"] and not overflow:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.mul_(1 - self._share(parameter, group))
            group["weight_decay"] = 0.0
        try:
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay

    def _share(self, parameter: Tensor, group: dict[str, Any]) -> float:
        """How much of a parameter its next update takes away."""
        step = int(self.state[parameter].get("step", 0)) + 1
        first, second = group["betas"]
        correction = (1 - second**step) ** 0.5 / (1 - first**step)
        return float(group["lr"] * group["weight_decay"] * correction)
