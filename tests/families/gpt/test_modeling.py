"""The GPT encoder and language models: recorded numbers, causality, texts beyond the context."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from nlptl.families.gpt.blocks import GptFeedForward
from nlptl.families.gpt.configuration import GptConfig
from nlptl.families.gpt.double_heads import GptDoubleHeadsModel
from nlptl.families.gpt.modeling import GptForCausalLM, GptModel
from nlptl.nn.softmax import CandidateSampler
from tests.families.contract_learning import saved_bytes

TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}


def test_every_layer_and_the_logits_are_the_recorded_ones(
    recorded: Path, expected: dict[str, Tensor]
) -> None:
    model = GptForCausalLM.from_pretrained(recorded / "tiny").eval()
    mask = expected["attention_mask"]
    with torch.inference_mode():
        found = model(expected["input_ids"], mask, output_hidden_states=True)
    tokens = mask.bool()
    assert len(found.hidden_states) == 4
    for layer, states in enumerate(found.hidden_states):
        torch.testing.assert_close(states[tokens], expected[f"hidden_states.{layer}"][tokens], **TOLERANCE)
    torch.testing.assert_close(found.logits[tokens], expected["lm_logits"][tokens], **TOLERANCE)


def test_double_heads_are_the_recorded_ones(recorded: Path, expected: dict[str, Tensor]) -> None:
    model = GptDoubleHeadsModel.from_pretrained(recorded / "tiny_double_heads").eval()
    of = {name.removeprefix("double."): x for name, x in expected.items() if name.startswith("double.")}
    names = ("input_ids", "attention_mask", "mc_token_ids", "labels", "mc_labels")
    with torch.inference_mode():
        found = model(**{name: of[name] for name in names})
        by_default = model(of["input_ids"], of["attention_mask"])
    tokens = of["attention_mask"].bool()
    torch.testing.assert_close(found.logits[tokens], of["lm_logits"][tokens], **TOLERANCE)
    torch.testing.assert_close(found.mc_logits, of["mc_logits"], **TOLERANCE)
    torch.testing.assert_close(found.loss, of["lm_loss"][0], **TOLERANCE)
    torch.testing.assert_close(found.mc_loss, of["mc_loss"][0], **TOLERANCE)
    last = of["attention_mask"].sum(dim=2) - 1
    same = of["mc_token_ids"] == last
    torch.testing.assert_close(by_default.mc_logits[same], found.mc_logits[same])


def test_weights_go_to_transformers_and_back(tiny: GptConfig, tmp_path: Path) -> None:
    ours = GptForCausalLM(tiny).eval()
    names = {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head"}
    native = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**{name: getattr(tiny, name) for name in names})).eval()
    native.load_state_dict(ours.state_dict())
    native.save_pretrained(tmp_path)
    ids = torch.randint(0, 50, (3, 8))
    with torch.inference_mode():
        expected = native(ids).logits
        torch.testing.assert_close(ours(ids).logits, expected, **TOLERANCE)
        torch.testing.assert_close(
            GptForCausalLM.from_pretrained(tmp_path)(ids).logits, expected, **TOLERANCE
        )


def test_a_later_token_changes_nothing_before_it(tiny: GptConfig) -> None:
    model = GptModel(tiny).eval()
    ids = torch.randint(0, 50, (1, 8))
    other = ids.clone()
    other[0, 5] = (ids[0, 5] + 1) % 50
    with torch.inference_mode():
        before, after = model(ids).last_hidden_state, model(other).last_hidden_state
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=0, atol=1e-6)
    assert not torch.isclose(before[0, 5:], after[0, 5:]).all(dim=1).any()


def test_beyond_the_context_a_token_has_read_half_a_context_before_it(tiny: GptConfig) -> None:
    """Windows of eight begin at 0, 4, 8...: the tokens 8 to 11 are those at the end of the window 4 to 11."""
    model = GptModel(tiny).eval()
    ids = torch.randint(0, 50, (1, 22))
    with torch.inference_mode():
        whole = model(ids, output_hidden_states=True)
        for first, last, start in ((0, 8, 0), (8, 12, 4), (12, 16, 8), (16, 20, 12), (20, 22, 16)):
            window = model(ids[:, start:last], output_hidden_states=True)
            for found, alone in zip(whole.hidden_states, window.hidden_states, strict=True):
                torch.testing.assert_close(
                    found[:, first:last], alone[:, first - start :], rtol=1e-5, atol=1e-5
                )


def test_the_loss_is_of_the_next_token_by_labels_and_by_targets(tiny: GptConfig) -> None:
    model = GptForCausalLM(tiny).eval()
    ids = torch.randint(0, 50, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.inference_mode():
        output = model(ids, mask, labels=ids)
        rows = [output.logits[0, :6], output.logits[1, :3]]
        expected = F.cross_entropy(torch.cat(rows), torch.cat([ids[0, 1:], ids[1, 1:4]]))
        torch.testing.assert_close(output.loss, expected)
        targets = model(ids[:1, :-1], targets=ids[:1, 1:])
    assert targets.logits is None
    torch.testing.assert_close(targets.loss, F.cross_entropy(output.logits[0, :6], ids[0, 1:]))


def test_sampled_training_moves_no_word_that_is_neither_drawn_nor_there(tiny: GptConfig) -> None:
    model = GptForCausalLM(tiny).train()
    drawn = CandidateSampler(torch.ones(50), 10).draw(0, torch.device("cpu"))
    ids = torch.randint(0, 50, (2, 8))
    model(ids[:, :-1], targets=ids[:, 1:], candidates=drawn).loss.backward()
    moved = set(model.transformer.tokens_embed.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert moved <= set(drawn.ids.tolist()) | set(ids.flatten().tolist())
    assert len(moved) > 10


def test_activations_beyond_a_bound_are_computed_again_and_gradients_are_the_same(tiny: GptConfig) -> None:
    ids, kept, gradients = torch.randint(0, 50, (4, 8)), [], []
    model = GptForCausalLM(tiny).train()
    for bound in (1000, 1):
        model.config.max_kept_tokens = bound
        model.zero_grad()
        with saved_bytes() as counted:
            loss = model(ids[:, :-1], targets=ids[:, 1:]).loss
        loss.backward()
        kept.append(sum(counted.values()))
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert kept[1] < 0.7 * kept[0]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_training_keeps_what_is_before_an_activation_and_not_what_is_after_it(tiny: GptConfig) -> None:
    network, x = GptFeedForward(tiny), torch.randn(4, 8, tiny.n_embd)
    with saved_bytes() as counted:
        trained = network.train()(x)
    wide = 4 * x.numel() * x.element_size()
    assert sum(size == wide for size in counted.values()) == 1
    trained.square().sum().backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    read = network.eval()(x)
    read.square().sum().backward()
    torch.testing.assert_close(trained, read)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"n_head": 5}, "n_head must divide n_embd"),
        ({"afn": "tanh"}, "afn is one of"),
        ({"feature_layer": 3}, "feature_layer is a number from 0 to 2"),
        ({"resid_pdrop": 1.0}, "from 0 to below 1"),
        ({"n_positions": 3}, "n_positions four at least"),
        (
            {"head": "bilstm-attention", "head_hidden_sizes": [4], "pair_symmetric": True},
            "pair_symmetric must be off",
        ),
    ],
)
def test_a_config_that_makes_no_model_is_refused(values: dict[str, object], cause: str) -> None:
    with pytest.raises(Exception, match=cause):
        GptConfig(**{"vocab_size": 50, "n_embd": 12, "n_layer": 2, "n_head": 3, **values})
