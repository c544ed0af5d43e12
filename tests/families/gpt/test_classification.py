"""The GPT classifier: the original's objective, the extract token, long texts, symmetric pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlptl.families.gpt.classification import GptForSequenceClassification
from nlptl.families.gpt.configuration import GptConfig
from nlptl.families.gpt.modeling import GptForCausalLM
from nlptl.nn.softmax import linear_cross_entropy
from nlptl.training.batching import padded

START, DELIMITER, EXTRACT = 50, 51, 52
MARKS = {"bos_token_id": START, "delimiter_token_id": DELIMITER, "extract_token_id": EXTRACT}
MARKS |= {"new_tokens": 3, "vocab_size": 53}


def classifier(tiny: GptConfig, **values: Any) -> GptForSequenceClassification:
    config = GptConfig.from_dict({**tiny.to_dict(), **MARKS, "num_labels": 3, **values})
    torch.manual_seed(0)
    return GptForSequenceClassification(config).eval()


def batch(*rows: Sequence[int]) -> dict[str, Tensor]:
    encodings = [{"input_ids": list(row), "attention_mask": [1] * len(row)} for row in rows]
    return padded(encodings, 0)


def marked(*text: int) -> list[int]:
    return [START, *text, EXTRACT]


# -- the original's objective


@pytest.fixture(scope="module")
def objective(recorded: Path) -> dict[str, Any]:
    """What train.py computes of three texts."""
    return dict(np.load(recorded / "finetune_objective.npz"))


@pytest.fixture
def original(recorded: Path, objective: dict[str, Any]) -> GptForSequenceClassification:
    config = GptConfig.from_pretrained(
        recorded / "tiny",
        vocab_size=123,
        bos_token_id=120,
        delimiter_token_id=121,
        extract_token_id=122,
        new_tokens=3,
        num_labels=3,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        classifier_dropout=0.0,
    )
    model = GptForSequenceClassification(config)
    source = GptForCausalLM.from_pretrained(recorded / "tiny").transformer
    model.transformer.load_state_dict(source.state_dict(), strict=False)
    with torch.no_grad():
        model.transformer.new_embeddings.weight.copy_(torch.from_numpy(objective["special_embeddings"]))
        model.head.weight.copy_(torch.from_numpy(objective["clf_w"]).T)
        model.head.bias.copy_(torch.from_numpy(objective["clf_b"]))
    return model.train()


def test_the_objective_is_the_original_s(
    original: GptForSequenceClassification, objective: dict[str, Any]
) -> None:
    """Classification loss plus half the language-model loss, each text's averaged over its own tokens."""
    ids, mask, labels = (torch.from_numpy(objective[name]).long() for name in ("token_ids", "mask", "labels"))
    found = original(ids, mask, labels=labels)
    close = {"atol": 2e-5, "rtol": 1e-5}
    torch.testing.assert_close(found.logits, torch.from_numpy(objective["clf_logits"]), **close)
    torch.testing.assert_close(
        found.loss, torch.from_numpy(objective["total_loss_token_rows"]).squeeze(), **close
    )
    states = original.encoder_states(ids, mask)[-1]
    kept = mask.bool()
    torch.testing.assert_close(states[kept], torch.from_numpy(objective["last_hidden"])[kept], **close)
    for row, expected in enumerate(objective["lm_losses_softmax_over_token_rows"]):
        _, loss = original.learn(ids[row : row + 1], mask[row : row + 1])
        assert loss.item() / 0.5 == pytest.approx(float(expected), abs=2e-5)


def test_over_all_rows_of_the_embedding_it_is_train_py_s(
    original: GptForSequenceClassification, objective: dict[str, Any]
) -> None:
    """The original predicts places too; the same numbers follow from the same states."""
    ids, mask = (torch.from_numpy(objective[name]).long() for name in ("token_ids", "mask"))
    states = original.encoder_states(ids, mask)[-1]
    rows = torch.cat(
        [original.transformer.token_rows(), original.transformer.positions_embed.weight[: ids.shape[1]]]
    )
    targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    for row, expected in enumerate(objective["lm_losses_softmax_over_all_rows_of_we"]):
        loss = linear_cross_entropy(states[row, :-1], rows, None, targets[row])
        assert loss.item() == pytest.approx(float(expected), abs=2e-5)


def test_without_a_weight_the_texts_are_not_predicted(tiny: GptConfig) -> None:
    inputs = {**batch(marked(1, 2, 3), marked(4, 5)), "labels": torch.tensor([0, 2])}
    losses = [classifier(tiny, lm_weight=weight).train()(**inputs).loss.item() for weight in (0.0, 0.5, 1.0)]
    measured = classifier(tiny, lm_weight=0.5).eval()(**inputs).loss.item()
    assert losses[0] == pytest.approx(measured)  # what is measured is classification alone
    assert losses[1] - losses[0] == pytest.approx(losses[2] - losses[1], rel=1e-4)
    assert losses[1] > losses[0] + 0.1


# -- what is read


def test_the_extract_token_is_what_is_classified(tiny: GptConfig) -> None:
    model = classifier(tiny)
    rows = batch(marked(1, 2, 3), marked(4), [7, 8])
    states = model.encoder_states(**rows)[-1]
    expected = torch.stack(
        [states[0, 4], states[1, 2], states[2, 1]]
    )  # of a text without marks its last token
    torch.testing.assert_close(model.represent(**rows)[0], expected)


def test_a_text_that_fits_once_marked_is_one_window(tiny: GptConfig) -> None:
    model = classifier(tiny)
    row = batch(marked(1, 2, 3, 4, 5, 6))
    torch.testing.assert_close(model.represent(**row)[0], model.encoder_states(**row)[-1][:, 7])


def test_a_longer_text_is_the_mean_of_marked_windows(tiny: GptConfig) -> None:
    """A context of eight holds six tokens between the marks; the windows begin at 0, 3 and 6."""
    model = classifier(tiny)
    text = list(range(1, 12))
    windows = batch(marked(*text[:6]), marked(*text[3:9]), marked(*text[6:]))
    with torch.inference_mode():
        expected = model.represent(**windows)[0].mean(dim=0)
        found = model.represent(**batch(marked(*text), marked(9)))[0]
    torch.testing.assert_close(found[0], expected)


def test_of_overlapping_windows_each_token_is_predicted_once(tiny: GptConfig) -> None:
    model = classifier(tiny).train()
    text = list(range(1, 12))
    spans = ((text[:6], range(1, 8)), (text[3:9], [4, 5, 6, 7]), (text[6:], [4, 5, 6]))
    total = count = 0.0
    for span, places in spans:
        ids = torch.tensor([marked(*span)])
        states = model.encoder_states(ids, None)[-1][0]
        for place in places:
            wanted = ids[0, place : place + 1]
            total += float(
                linear_cross_entropy(states[place - 1 : place], model.transformer.token_rows(), None, wanted)
            )
            count += 1
    _, loss = model.learn(**batch(marked(*text)))
    assert loss.item() == pytest.approx(0.5 * total / count, rel=1e-5)


def test_only_the_windows_at_the_end_are_learned_from(tiny: GptConfig) -> None:
    model = classifier(tiny, max_trained_tokens=8, lm_weight=0.0).train()
    row = {**batch(marked(*range(1, 12))), "labels": torch.tensor([1])}
    model(**row).loss.backward()
    moved = model.transformer.tokens_embed.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert moved == [7, 8, 9, 10, 11]  # the last window, and no token of those before it


def test_features_of_a_lower_layer_cost_no_block_above_it(tiny: GptConfig) -> None:
    model = classifier(tiny, feature_layer=1, pooling="mean")
    rows = batch(marked(1, 2, 3), marked(4, 5))
    states = model.encoder_states(**rows)[1]
    expected = torch.stack([states[0, 1:4].mean(dim=0), states[1, 1:3].mean(dim=0)])  # marks are left out
    model.transformer.h[1] = None  # so that to run it would fail
    torch.testing.assert_close(model.represent(**rows)[0], expected)


def test_new_tokens_alone_have_new_embeddings(tiny: GptConfig) -> None:
    model = classifier(tiny)
    ids = torch.tensor([[START, 3, DELIMITER, EXTRACT]])
    rows = model.transformer.token_rows()
    assert torch.equal(model.transformer.embed(ids), rows[ids])
    assert rows.shape == (53, 12)
    assert 0.1 < float(model.transformer.new_embeddings.weight.detach().std()) < 0.5


# -- pairs


@pytest.mark.parametrize("pooling", ["extract", "mean", "concat"])
def test_swapping_a_symmetric_pair_changes_nothing(tiny: GptConfig, pooling: str) -> None:
    one = batch(
        marked(1, 2, 3, DELIMITER, 4, 5), marked(6, DELIMITER, 7), marked(*range(1, 9), DELIMITER, 9, 10)
    )
    other = batch(
        marked(4, 5, DELIMITER, 1, 2, 3), marked(7, DELIMITER, 6), marked(9, 10, DELIMITER, *range(1, 9))
    )
    symmetric, plain = (classifier(tiny, pooling=pooling, pair_symmetric=yes) for yes in (True, False))
    with torch.inference_mode():
        torch.testing.assert_close(symmetric(**one).logits, symmetric(**other).logits)
        difference = (plain(**one).logits - plain(**other).logits).abs().amax(dim=1)
        assert (difference > 1e-5).all()
        # both orders' vectors are added before the one linear layer
        summed = plain.represent(**one)[0] + plain.represent(**other)[0]
        torch.testing.assert_close(symmetric.represent(**one)[0], summed)


def test_a_text_alone_is_unaffected(tiny: GptConfig) -> None:
    row = batch(marked(1, 2, 3))
    symmetric, plain = (classifier(tiny, pair_symmetric=yes) for yes in (True, False))
    torch.testing.assert_close(symmetric(**row).logits, plain(**row).logits)
