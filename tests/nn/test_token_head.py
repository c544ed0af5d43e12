"""The head on token vectors: layers mixed, a BiLSTM over the tokens alone, attention pooling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nlptl.nn.heads import build_head, head_penalty, head_scores
from nlptl.nn.token_head import TokenHead, token_layers

LENGTHS = [5, 1, 7, 0, 3]


def new_head(layers: int = 3) -> TokenHead:
    torch.manual_seed(0)
    head = build_head("bilstm-attention", 6, [4], [0.5, 0.5], 2, bias=True, layers=layers).eval()
    assert isinstance(head, TokenHead)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Five texts, (5, 9, 3 layers, 6), with rubbish where there is no token, and the mask."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(9) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(5, 9, 3, 6, generator=generator), mask


def test_a_text_scores_the_same_whatever_its_padding_and_its_company(batch: tuple[Tensor, Tensor]) -> None:
    head, (vectors, mask) = new_head(), batch
    together = head(vectors, mask)
    assert torch.isfinite(together).all()
    order = [4, 3, 1, 0, 2]
    torch.testing.assert_close(head(vectors[order], mask[order]), together[order])
    for row, length in enumerate(LENGTHS):
        alone = vectors[row : row + 1, : max(1, length)]
        scores = head(alone) if length else head(alone, mask[row : row + 1, :1])
        torch.testing.assert_close(scores, together[row : row + 1])


def test_it_is_a_mix_a_bilstm_and_a_softmax_of_scores(batch: tuple[Tensor, Tensor]) -> None:
    head, (vectors, mask) = new_head(), batch
    lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    weights = dict(head.forward_lstm.state_dict())
    weights |= {f"{name}_reverse": tensor for name, tensor in head.backward_lstm.state_dict().items()}
    lstm.load_state_dict(weights)
    shares = head.mix.weights.softmax(0)
    mixed = head.mix.gamma * (vectors * shares[:, None]).sum(dim=2)
    rows = torch.tensor(LENGTHS) > 0
    packed = pack_padded_sequence(mixed[rows], mask[rows].sum(1), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=9)
    for scores, text, valid in zip(head(vectors, mask)[rows], states, mask[rows], strict=True):
        read = text[valid]
        attention = head.pooling.query(torch.tanh(head.pooling.projection(read))).softmax(dim=0)
        torch.testing.assert_close(scores, head.linear((attention * read).sum(dim=0)))


def test_a_text_without_any_token_scores_as_the_bias(batch: tuple[Tensor, Tensor]) -> None:
    head, (vectors, mask) = new_head(), batch
    torch.testing.assert_close(head(vectors, mask)[3], head.linear.bias)
    head.train()(vectors, mask).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in head.parameters())


def test_tokens_stored_in_half_precision_are_read(batch: tuple[Tensor, Tensor]) -> None:
    head, (vectors, mask) = new_head(), batch
    torch.testing.assert_close(head(vectors.half(), mask), head(vectors, mask), atol=5e-3, rtol=0)


def test_dropout_acts_in_training_only(batch: tuple[Tensor, Tensor]) -> None:
    head = new_head()
    assert not torch.equal(head.train()(*batch), head(*batch))
    assert torch.equal(head.eval()(*batch), head(*batch))


def test_the_penalty_draws_the_mix_to_the_mean_of_the_layers() -> None:
    head = new_head()
    expected = 0.001 * head.mix.weights.square().sum()
    torch.testing.assert_close(head.penalty(), expected)
    torch.testing.assert_close(head_penalty(head, torch.zeros(())), expected)
    assert head_penalty(nn.Linear(2, 2), torch.zeros(())) == 0


def test_the_layers_as_wide_as_the_last_are_mixed() -> None:
    states = [torch.randn(2, 3, width) for width in (4, 7, 4, 4)]
    stacked = token_layers(states)
    assert stacked.shape == (2, 3, 3, 4)
    assert all(torch.equal(stacked[:, :, n], states[m]) for n, m in enumerate((0, 2, 3)))


def test_heads_of_either_kind_score_their_input(batch: tuple[Tensor, Tensor]) -> None:
    head, linear, x = new_head(), nn.Linear(6, 2), torch.randn(4, 6)
    assert torch.equal(head_scores(head, *batch), head(*batch))
    assert torch.equal(head_scores(linear, x, None), linear(x))


def test_a_token_head_has_two_dropouts() -> None:
    with pytest.raises(ValueError, match="two dropouts, not 1"):
        TokenHead(1, 6, 4, [0.5], 2)
