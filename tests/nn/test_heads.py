"""Classification heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nlptl.nn.heads import build_head


def test_blocks_are_norm_linear_relu_and_the_last_has_no_relu() -> None:
    torch.manual_seed(0)
    head = build_head("blocks", 6, [5], [0.4, 0.1], 3, bias=False).eval()
    weights = head.state_dict()
    mean, variance = weights["blocks.0.norm.running_mean"], weights["blocks.0.norm.running_var"]
    mean.normal_()
    variance.uniform_(0.5, 1.5)
    x, epsilon = torch.randn(200, 6), 1e-5
    hidden = ((x - mean) / (variance + epsilon).sqrt() @ weights["blocks.0.linear.weight"].T).clamp(min=0)
    scores = hidden / (1 + epsilon) ** 0.5 @ weights["blocks.1.linear.weight"].T
    torch.testing.assert_close(head(x), scores)
    assert bool((scores < 0).any())


def test_the_names_of_the_blocks_are_those_of_saved_models() -> None:
    names = set(dict(build_head("blocks", 6, [5], [0.4, 0.1], 3, bias=False).named_parameters()))
    assert names == {f"blocks.{b}.{p}" for b in (0, 1) for p in ("norm.weight", "norm.bias", "linear.weight")}


def test_blocks_of_older_checkpoints_have_biases() -> None:
    torch.manual_seed(0)
    head = build_head("blocks", 6, [5], [0.4, 0.1], 3, bias=True).eval()
    weights = head.state_dict()
    assert weights["blocks.0.linear.bias"].shape == (5,)
    x = torch.randn(2, 6)
    before = head(x)
    weights["blocks.1.linear.bias"].add_(2.0)
    torch.testing.assert_close(head(x), before + 2.0)


def test_no_hidden_widths_is_one_block() -> None:
    assert build_head("blocks", 6, [], [0.1], 3, bias=False).eval()(torch.randn(2, 6)).shape == (2, 3)


def test_a_text_scores_the_same_alone_and_in_a_batch() -> None:
    head = build_head("blocks", 6, [5], [0.4, 0.1], 3, bias=False).eval()
    x = torch.randn(8, 6)
    torch.testing.assert_close(head(x)[3:4], head(x[3:4]))


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = build_head("blocks", 6, [5], [0.4, 0.1], 3, bias=False)
    x = torch.randn(8, 6)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_linear_is_a_plain_linear_layer_with_a_bias() -> None:
    head = build_head("linear", 6, [5], [0.4, 0.1], 3, bias=False)
    assert type(head) is nn.Linear
    assert head.weight.shape == (3, 6)
    assert head.bias is not None


def test_each_block_needs_a_dropout() -> None:
    with pytest.raises(ValueError, match="2 blocks need as many dropouts, not 1"):
        build_head("blocks", 6, [5], [0.4], 3, bias=False)


def test_a_batch_of_one_can_be_trained_on() -> None:
    # The last batch of an epoch is often that small.
    head = build_head("blocks", 6, [5], [0.4, 0.1], 3, bias=False).train()
    assert bool(head(torch.randn(1, 6)).isfinite().all())
