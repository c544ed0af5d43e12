"""The AWD-LSTM encoder and language model: parity with fastai, state, direction, padding, losses, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from nlptl.families.ulmfit.configuration import UlmfitConfig
from nlptl.families.ulmfit.conversion import convert_language_model
from nlptl.families.ulmfit.modeling import State, UlmfitForCausalLM, UlmfitModel

PARITY = Path(__file__).resolve().parents[3] / ".." / "shared" / "parity" / "ulmfit"

BuildModel = Callable[..., UlmfitForCausalLM]
DrawTokens = Callable[..., Tensor]
PaddedBatch = tuple[Tensor, Tensor, list[int]]


def run(model: UlmfitForCausalLM, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return model(*args, **kwargs)


def assert_same_state(actual: State, expected: State) -> None:
    assert len(actual) == len(expected) == 3
    for found, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(found, wanted)


# Parity with fastai


@pytest.fixture(scope="module")
def released() -> tuple[UlmfitForCausalLM, dict[str, Tensor]]:
    """The recorded language model, and what fastai computes with it."""
    if not PARITY.is_dir():
        pytest.skip("../shared/parity is absent")
    checkpoint = convert_language_model(torch.load(PARITY / "lm_fwd.pth", weights_only=True), "in lm_fwd.pth")
    model = UlmfitForCausalLM(UlmfitConfig(vocab_size=60, embedding_size=12, hidden_size=20)).eval()
    missing, unexpected = model.load_state_dict(checkpoint.state_dict, strict=False)
    assert missing == ["lm_head.weight"]  # tied
    assert unexpected == []
    return model, load_file(PARITY / "lm_fwd_expected.safetensors")


def assert_is_recorded(output: Any, expected: dict[str, Tensor], name: str) -> None:
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    for level, layer in enumerate(("embedding", "layer0", "layer1", "layer2")):
        torch.testing.assert_close(output.hidden_states[level], expected[f"{name}.{layer}"], **close)
    torch.testing.assert_close(output.logits, expected[f"{name}.logits"], **close)
    for level, (h, c) in enumerate(output.state):
        torch.testing.assert_close(h, expected[f"{name}.final_h{level}"], **close)
        torch.testing.assert_close(c, expected[f"{name}.final_c{level}"], **close)


@pytest.mark.parametrize("name", ["full", "single"])
def test_every_layer_logit_and_state_is_that_of_fastai(
    released: tuple[UlmfitForCausalLM, dict[str, Tensor]], name: str
) -> None:
    model, expected = released
    assert_is_recorded(run(model, expected[f"{name}.input_ids"], output_hidden_states=True), expected, name)


def test_a_carried_state_is_that_of_fastai(released: tuple[UlmfitForCausalLM, dict[str, Tensor]]) -> None:
    model, expected = released
    first = run(model, expected["chunk0.input_ids"], output_hidden_states=True)
    assert_is_recorded(first, expected, "chunk0")
    second = run(model, expected["chunk1.input_ids"], state=first.state, output_hidden_states=True)
    assert_is_recorded(second, expected, "chunk1")
    fresh = run(model, expected["chunk1.input_ids"])
    torch.testing.assert_close(fresh.logits, expected["chunk1_zero_state.logits"], rtol=1e-5, atol=1e-5)


def test_the_loss_is_that_of_fastai(released: tuple[UlmfitForCausalLM, dict[str, Tensor]]) -> None:
    model, expected = released
    loss = run(model, expected["full.input_ids"], labels=expected["full.input_ids"]).loss
    torch.testing.assert_close(loss, expected["lm_loss_mean"][0], rtol=1e-5, atol=1e-5)


# State, padding, direction


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_piece_by_piece_in_reading_order_equals_the_whole(
    language_model: BuildModel, tokens: DrawTokens, direction: str
) -> None:
    model, ids = language_model(direction=direction), tokens(3, 14)
    whole = run(model, ids, output_hidden_states=True)
    pieces = [ids[:, :4], ids[:, 4:9], ids[:, 9:]]
    outputs: list[Any] = []
    state: Any = None
    for piece in pieces if direction == "forward" else pieces[::-1]:
        outputs.append(run(model, piece, state=state, output_hidden_states=True))
        state = outputs[-1].state
    if direction == "backward":
        outputs.reverse()
    torch.testing.assert_close(torch.cat([output.logits for output in outputs], dim=1), whole.logits)
    for level, layer in enumerate(whole.hidden_states):
        joined = torch.cat([output.hidden_states[level] for output in outputs], dim=1)
        torch.testing.assert_close(joined, layer)
    assert_same_state(state, whole.state)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_padding_changes_neither_outputs_nor_state(
    language_model: BuildModel, tokens: DrawTokens, padded_batch: PaddedBatch, direction: str
) -> None:
    model = language_model(direction=direction)
    ids, mask, lengths = padded_batch
    before = run(model, tokens(4, 6)).state
    together = run(model, ids, attention_mask=mask, state=before, output_hidden_states=True)
    for row, length in enumerate(lengths):
        alone_before = tuple((h[:, row : row + 1], c[:, row : row + 1]) for h, c in before)
        alone = run(model, ids[row : row + 1, :length], state=alone_before, output_hidden_states=True)
        torch.testing.assert_close(together.logits[row, :length], alone.logits[0])
        for level, layer in enumerate(alone.hidden_states):
            torch.testing.assert_close(together.hidden_states[level][row, :length], layer[0])
        after = tuple(
            (h[:, row : row + 1].contiguous(), c[:, row : row + 1].contiguous()) for h, c in together.state
        )
        assert_same_state(after, alone.state)


def test_a_backward_model_is_a_forward_one_on_the_reversed_text_in_the_order_of_the_text(
    language_model: BuildModel, padded_batch: PaddedBatch
) -> None:
    forward, backward = language_model(), language_model(direction="backward")
    ids, mask, lengths = padded_batch
    actual = run(backward, ids, attention_mask=mask, output_hidden_states=True)
    for row, length in enumerate(lengths):
        expected = run(forward, ids[row : row + 1, :length].flip(1), output_hidden_states=True)
        torch.testing.assert_close(actual.logits[row, :length], expected.logits[0].flip(0))
        for level, layer in enumerate(expected.hidden_states):
            torch.testing.assert_close(actual.hidden_states[level][row, :length], layer[0].flip(0))


def test_a_position_knows_nothing_of_the_tokens_yet_unread(
    language_model: BuildModel, tokens: DrawTokens
) -> None:
    ids = tokens(1, 10)
    changed = ids.clone()
    changed[0, 6] = 9 if ids[0, 6] != 9 else 10
    for direction, unchanged in (("forward", slice(0, 6)), ("backward", slice(7, 10))):
        model = language_model(direction=direction)
        before, after = run(model, ids).logits, run(model, changed).logits
        assert torch.equal(before[:, unchanged], after[:, unchanged])
        assert not torch.equal(before, after)


def test_an_empty_row_is_harmless(language_model: BuildModel, padded_batch: PaddedBatch) -> None:
    model, (ids, mask, _) = language_model(), padded_batch
    expected = run(model, ids, attention_mask=mask)
    mask[2] = 0
    actual = run(model, ids, attention_mask=mask, labels=ids)
    assert bool(actual.logits.isfinite().all())
    assert bool(actual.loss.isfinite())
    torch.testing.assert_close(actual.logits[[0, 1, 3]], expected.logits[[0, 1, 3]])


def test_an_empty_row_keeps_its_state(
    language_model: BuildModel, tokens: DrawTokens, padded_batch: PaddedBatch
) -> None:
    model, (ids, mask, _) = language_model(), padded_batch
    before = run(model, tokens(4, 6)).state
    mask[2] = 0
    after = run(model, ids, attention_mask=mask, state=before).state
    assert_same_state(
        tuple((h[:, 2], c[:, 2]) for h, c in after), tuple((h[:, 2], c[:, 2]) for h, c in before)
    )


# Layer groups, saving


def test_layer_groups_hold_every_parameter_once_and_the_embedding_with_the_softmax(
    language_model: BuildModel,
) -> None:
    model = language_model()
    groups = model.layer_groups()
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in model.parameters())
    assert [len(group) for group in groups] == [4, 4, 4, 2]
    assert groups[0][0] is model.encoder.layers[0].weight_ih_l0
    assert groups[-1][0] is model.lm_head.weight is model.encoder.embedding.weight


def test_layer_groups_of_the_encoder_start_at_the_embedding(language_model: BuildModel) -> None:
    model = language_model().encoder
    groups = model.layer_groups()
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in model.parameters())
    assert groups[0][0] is model.embedding.weight


def test_a_saved_model_comes_back_the_same_and_still_tied(
    language_model: BuildModel, tokens: DrawTokens, tmp_path: Path
) -> None:
    model, ids = language_model(direction="backward"), tokens(2, 6)
    model.save_pretrained(tmp_path)
    loaded = UlmfitForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.encoder.embedding.weight
    assert not loaded.training
    saved = model.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(run(loaded, ids).logits, run(model, ids).logits)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert len(file.keys()) == len(set(model.parameters()))  # the tied matrix is written once


def test_an_untied_model_keeps_two_matrices(language_model: BuildModel, tmp_path: Path) -> None:
    model = language_model(tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    loaded = UlmfitForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(loaded.lm_head.weight, loaded.encoder.embedding.weight)


def test_the_encoder_of_a_saved_language_model_loads_by_itself(
    language_model: BuildModel, tokens: DrawTokens, tmp_path: Path
) -> None:
    model, ids = language_model(), tokens(2, 6)
    model.save_pretrained(tmp_path)
    encoder = UlmfitModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(encoder(ids).last_hidden_state, model.encoder(ids).last_hidden_state)


def test_a_new_model_starts_in_the_ranges_of_awd_lstm() -> None:
    torch.manual_seed(0)
    model = UlmfitForCausalLM(UlmfitConfig(vocab_size=60, embedding_size=12, hidden_size=20))
    assert 0.09 < model.encoder.embedding.weight.abs().max().item() <= 0.1
    for layer, width in zip(model.encoder.layers, (20, 20, 12), strict=True):
        for parameter in layer.parameters():
            assert 0.7 * width**-0.5 < parameter.abs().max().item() <= width**-0.5
    assert bool((model.lm_head.bias == 0).all())
