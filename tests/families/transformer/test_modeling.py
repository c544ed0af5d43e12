"""The Transformer against torch's own, and what its masks promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nlptl.families.transformer.configuration import TransformerConfig
from nlptl.families.transformer.modeling import TransformerForDenoising, TransformerModel
from nlptl.nn.positions import sinusoidal_positions
from tests.families.contract_learning import saved_bytes

SIZES = {
    "vocab_size": 80,
    "width": 16,
    "feed_forward_width": 24,
    "num_heads": 4,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "max_positions": 12,
    "dropout": 0.0,
    "classifier_dropout": 0.0,
}


def model(**values: Any) -> TransformerForDenoising:
    torch.manual_seed(0)
    made = TransformerForDenoising(TransformerConfig(**{**SIZES, **values})).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # biases and normalisations too
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return made


def torch_transformer(ours: TransformerForDenoising) -> nn.Transformer:
    """torch's own with the same weights."""
    config = ours.config
    theirs = nn.Transformer(
        config.width,
        config.num_heads,
        config.num_encoder_layers,
        config.num_decoder_layers,
        config.feed_forward_width,
        dropout=0.0,
        activation=config.activation,
        norm_first=config.norm == "pre",
        batch_first=True,
    ).eval()
    attention = {
        "in_proj_weight": "projections.weight",
        "in_proj_bias": "projections.bias",
        "out_proj.weight": "output.weight",
        "out_proj.bias": "output.bias",
    }
    linear = {"linear1": "feed_forward.inner", "linear2": "feed_forward.outer"}
    weights: dict[str, Tensor] = {}

    def take(into: str, of: Mapping[str, Tensor], attentions: Mapping[str, str]) -> None:
        for name, own in attentions.items():
            weights.update({f"{into}.{name}.{key}": of[f"{own}.{value}"] for key, value in attention.items()})
        for name, own in linear.items():
            weights.update({f"{into}.{name}.{part}": of[f"{own}.{part}"] for part in ("weight", "bias")})
        for number in range(len(attentions) + 1):
            for part in ("weight", "bias"):
                weights[f"{into}.norm{number + 1}.{part}"] = of[f"residuals.{number}.norm.{part}"]

    for number, layer in enumerate(ours.encoder.layers):
        take(f"encoder.layers.{number}", layer.state_dict(), {"self_attn": "self_attention"})
    for number, layer in enumerate(ours.decoder.layers):
        attentions = {"self_attn": "self_attention", "multihead_attn": "encoder_attention"}
        take(f"decoder.layers.{number}", layer.state_dict(), attentions)
    for name, stack in (("encoder", ours.encoder), ("decoder", ours.decoder)):
        weights.update({f"{name}.norm.{part}": x for part, x in stack.norm.state_dict().items()})
    theirs.load_state_dict(weights)
    return theirs


def padded_pair() -> tuple[Tensor, Tensor, Tensor]:
    """Texts of 9 and 5 tokens, their mask, and 6 tokens written of each."""
    torch.manual_seed(1)
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    return torch.randint(5, 80, (2, 9)) * mask, mask, torch.randint(5, 80, (2, 6))


@pytest.mark.filterwarnings("ignore:.*nested.tensor")
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_it_is_torch_s_transformer(norm: str, activation: str, positions: str) -> None:
    ours = model(norm=norm, activation=activation, positions=positions)
    theirs = torch_transformer(ours)
    ids, mask, written = padded_pair()
    with torch.inference_mode():
        found = ours.decode(written, ours.encoder(ids, mask).last_hidden_state, mask.bool())
        source, target = ours.encoder.embedding(ids), ours.encoder.embedding(written)
        expected = theirs(
            ours.encoder.places(source),
            ours.decoder.places(target),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(6),
            src_key_padding_mask=mask == 0,
            memory_key_padding_mask=mask == 0,
        )
        encoded = theirs.encoder(ours.encoder.places(source), src_key_padding_mask=mask == 0)
        states = ours.encoder(ids, mask).last_hidden_state
        logits = ours(ids, mask, decoder_input_ids=written).logits
        tied = expected @ ours.encoder.embedding.weight.T
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(states[mask.bool()], encoded[mask.bool()], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, tied, rtol=1e-5, atol=1e-5)


def test_positions_are_the_paper_s_waves() -> None:
    places = sinusoidal_positions(50, 6)
    for place in (0, 1, 17, 49):
        for pair in range(3):
            angle = torch.tensor(place / 10000 ** (2 * pair / 6), dtype=torch.float64)
            assert places[place, 2 * pair].item() == pytest.approx(float(angle.sin()), abs=1e-6)
            assert places[place, 2 * pair + 1].item() == pytest.approx(float(angle.cos()), abs=1e-6)
    assert sinusoidal_positions(4, 5).shape == (4, 5)


def test_the_decoder_sees_no_token_that_comes_later() -> None:
    ours = model()
    ids, mask, written = padded_pair()
    other = written.clone()
    other[:, 3] = (written[:, 3] + 1) % 80
    with torch.inference_mode():
        before, after = (ours(ids, mask, decoder_input_ids=x).logits for x in (written, other))
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=1e-6)
    assert (before[:, 3:] - after[:, 3:]).abs().amax(dim=2).min() > 1e-4


def test_the_encoder_reads_both_ways_and_padding_is_nothing_to_anyone() -> None:
    ours = model()
    ids, mask, written = padded_pair()
    noise = torch.where(mask == 0, torch.randint(5, 80, ids.shape), ids)
    last = ids.clone()
    last[1, 4] = (ids[1, 4] + 1) % 80
    with torch.inference_mode():
        plain, padded, changed = (ours.encoder(x, mask).last_hidden_state for x in (ids, noise, last))
        written_plain, written_padded = (
            ours(x, mask, decoder_input_ids=written).logits for x in (ids, noise)
        )
    torch.testing.assert_close(plain[mask.bool()], padded[mask.bool()])
    torch.testing.assert_close(written_plain, written_padded)
    assert (plain[1, 0] - changed[1, 0]).abs().max() > 1e-4  # the first token has read the last


def test_padding_on_the_left_is_refused() -> None:
    with pytest.raises(ValueError, match="padding must be on the right"):
        model().encoder(torch.ones(1, 3, dtype=torch.long), torch.tensor([[0, 1, 1]]))


def test_beyond_the_context_a_token_s_window_is_the_one_that_it_lies_in_the_middle_of() -> None:
    """Windows of twelve begin at 0, 6, 12; of an overlap of six each speaks for the half that is nearer its middle."""
    encoder = model().encoder
    torch.manual_seed(2)
    ids = torch.randint(5, 80, (1, 22))
    with torch.inference_mode():
        whole = encoder(ids, output_hidden_states=True).hidden_states
        for first, last, start, stop in ((0, 9, 0, 12), (9, 15, 6, 18), (15, 22, 12, 22)):
            window = encoder(ids[:, start:stop], output_hidden_states=True).hidden_states
            for found, alone in zip(whole, window, strict=True):
                torch.testing.assert_close(
                    found[:, first:last], alone[:, first - start : last - start], rtol=1e-5, atol=1e-5
                )


def test_labels_are_smoothed_in_training_alone() -> None:
    ours = model(label_smoothing=0.3)
    ids, mask, written = padded_pair()
    written[0, 4:] = -100
    logits = ours(ids, mask, decoder_input_ids=ours.after_begin(written)).logits.flatten(0, 1)
    plain = nn.functional.cross_entropy(logits, written.flatten())
    smoothed = nn.functional.cross_entropy(logits, written.flatten(), label_smoothing=0.3)
    torch.testing.assert_close(ours(ids, mask, labels=written).loss, plain)
    torch.testing.assert_close(ours.train()(ids, mask, labels=written).loss, smoothed)


def test_greedy_writing_takes_the_likeliest_token_each_time() -> None:
    ours = model()
    ids, mask, _ = padded_pair()
    rows = ours.reconstruct(ids, mask, 5)
    assert len(rows) == 2
    for number, row in enumerate(rows):
        expected = [ours.config.bos_token_id]
        for _ in range(5):
            logits = ours(
                ids[number : number + 1], mask[number : number + 1], torch.tensor([expected])
            ).logits
            expected.append(int(logits[0, -1].argmax()))
        wanted = expected[1:]
        end = ours.config.eos_token_id
        assert row == (wanted[: wanted.index(end)] if end in wanted else wanted)


def test_activations_beyond_a_bound_are_computed_again_and_gradients_are_the_same() -> None:
    ours, kept, gradients = model().encoder.train(), [], []
    torch.manual_seed(2)
    ids = torch.randint(5, 80, (4, 12))
    for bound in (1000, 1):
        ours.config.max_kept_tokens = bound
        ours.zero_grad()
        with saved_bytes() as counted:
            total = ours(ids).last_hidden_state.square().sum()
        total.backward()
        kept.append(sum(counted.values()))
        gradients.append([p.grad.clone() for p in ours.parameters() if p.grad is not None])
    assert kept[1] < 0.7 * kept[0]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"num_heads": 5}, "num_heads must divide width"),
        ({"norm": "both"}, "norm"),
        ({"noise_density": 1.0}, "noise_density lies between"),
        ({"mean_span_length": 0.5}, "mean_span_length is 1 or more"),
        ({"feature_layer": 3}, "feature_layer is a number from 0 to 2"),
        ({"dropout": 1.0}, "from 0 to below 1"),
        ({"max_positions": 3}, "max_positions 4 at least"),
        (
            {"head": "bilstm-attention", "head_hidden_sizes": [4], "pair_symmetric": True},
            "pair_symmetric must be off",
        ),
    ],
)
def test_a_config_that_makes_no_model_is_refused(values: dict[str, object], cause: str) -> None:
    with pytest.raises(Exception, match=cause):
        TransformerConfig(**{**SIZES, **values})


def test_an_encoder_is_loaded_from_the_whole(tmp_path: Any) -> None:
    ours = model()
    ours.save_pretrained(tmp_path)
    ids, mask, _ = padded_pair()
    with torch.inference_mode():
        alone = TransformerModel.from_pretrained(tmp_path).eval()(ids, mask).last_hidden_state
        torch.testing.assert_close(alone, ours.encoder(ids, mask).last_hidden_state)


def test_a_network_as_wide_as_the_vocabulary_is_initialised_as_any_other() -> None:
    torch.manual_seed(0)
    made = TransformerForDenoising(TransformerConfig(**{**SIZES, "feed_forward_width": 80}))
    inner, bound = made.encoder.layers[0].feed_forward.inner, (6 / (80 + 16)) ** 0.5
    assert 0.9 * bound < inner.weight.abs().max() <= bound  # Glorot's, uniform
    assert not inner.bias.any()
    apart = TransformerForDenoising(TransformerConfig(**{**SIZES, "tie_word_embeddings": False}))
    assert apart.lm_head.weight is not apart.encoder.embedding.weight
    assert apart.lm_head.weight.std().item() == pytest.approx(16**-0.5, rel=0.1)
