"""The biLM: parity with bilm-tf and AllenNLP, state, padding, losses, saving."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nlptl.families.elmo.modeling import ElmoForCausalLM, ElmoModel, State
from nlptl.nn.softmax import CandidateSampler

BuildReleased = Callable[[bool], ElmoModel]
BuildModel = Callable[..., ElmoForCausalLM]
DrawWords = Callable[..., Tensor]
Spell = Callable[[Sequence[Sequence[str]]], Tensor]
PaddedBatch = tuple[Tensor, Tensor, list[int]]


def run(model: ElmoModel | ElmoForCausalLM, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return model(*args, **kwargs)


def new_sentences(folder: Path) -> list[list[str]]:
    sentences: list[list[str]] = json.loads((folder / "sentences_new.json").read_text("utf-8"))["sentences"]
    return sentences


# Parity with the originals


def test_ten_steps_with_carried_state_are_those_of_bilm_tf(
    released: BuildReleased, released_files: Path, spelled: Spell
) -> None:
    model = released(False)
    lists = json.loads((released_files / "lm_embeddings_sentences.json").read_text("utf-8"))
    state: State | None = None
    for step in range(10):
        sentences = [texts[step].split() for texts in lists]
        output = run(model, spelled(sentences), state=state)
        state = output.state
        for number, words in enumerate(sentences):
            with h5py.File(released_files / f"lm_embeddings_{number}.hdf5") as file:
                expected = torch.from_numpy(file[str(step)][()])
            found = output.last_hidden_state[number, 1 : len(words) + 1]
            torch.testing.assert_close(found, torch.cat(list(expected), dim=1), atol=2e-6, rtol=0)


@pytest.mark.parametrize("skip", [True, False])
def test_all_layers_are_those_of_allennlp(
    released: BuildReleased, released_files: Path, spelled: Spell, skip: bool
) -> None:
    model = released(skip)
    recorded: Any = np.load(released_files / f"stateless_{'skip' if skip else 'noskip'}.npz")
    ids = spelled(new_sentences(released_files))
    assert torch.equal(ids[:, 1:16][torch.from_numpy(recorded["mask"])], without_padding(recorded))
    mask = torch.from_numpy(recorded["mask_with_boundaries"])
    expected = torch.from_numpy(recorded["layers_with_boundaries"])
    layers = torch.stack(run(model, ids, output_hidden_states=True).hidden_states)
    torch.testing.assert_close(layers[:, mask], expected[:, mask], atol=1e-5, rtol=1e-5)
    assert not layers[:, ~mask].any()


def without_padding(recorded: Any) -> Tensor:
    return torch.from_numpy(recorded["char_ids"].astype(np.int64))[torch.from_numpy(recorded["mask"])]


@pytest.mark.parametrize("skip", [True, False])
def test_layers_and_states_over_batches_of_different_sizes_are_those_of_allennlp(
    released: BuildReleased, released_files: Path, spelled: Spell, skip: bool
) -> None:
    model = released(skip)
    recorded: Any = np.load(released_files / f"stateful_{'skip' if skip else 'noskip'}.npz")
    sentences = new_sentences(released_files)
    close: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}
    state: State | None = None
    for batch in range(3):
        ids = spelled([sentences[number] for number in recorded[f"batch{batch}_sentence_numbers"]])
        output = run(model, ids, state=state, output_hidden_states=True)
        state = output.state
        expected = torch.from_numpy(recorded[f"batch{batch}_layers"])
        mask = torch.from_numpy(recorded[f"batch{batch}_mask"])
        layers = torch.stack(output.hidden_states)[:, :, 1:-1]
        torch.testing.assert_close(layers[:, mask], expected[:, mask], **close)
        # The file's states of the first batch are those that the second, of two rows, left: only the third row's are
        # its own. The layers of the second show that the others were right.
        own = slice(2, 3) if batch == 0 else slice(None)
        for layer, parts in enumerate(state):
            for name, part in zip("hc", parts, strict=True):
                wanted = torch.from_numpy(recorded[f"batch{batch}_state_{name}"])[layer]
                found = torch.cat(list(part), dim=1)
                torch.testing.assert_close(found[own], wanted[own], **close)


# Batches, padding, state


def test_a_text_alone_equals_itself_in_a_batch(language_model: BuildModel, padded_batch: PaddedBatch) -> None:
    encoder = language_model().encoder
    ids, mask, lengths = padded_batch
    together = run(encoder, ids, mask, output_hidden_states=True)
    for row, length in enumerate(lengths):
        own = slice(row, row + 1)
        alone = run(encoder, ids[own, :length], output_hidden_states=True)
        for whole, part in zip(together.hidden_states, alone.hidden_states, strict=True):
            torch.testing.assert_close(whole[own, :length], part, atol=1e-5, rtol=1e-5)
            assert not whole[own, length:].any()
        for whole_parts, parts in zip(together.state, alone.state, strict=True):
            for whole, part in zip(whole_parts, parts, strict=True):
                torch.testing.assert_close(whole[:, own], part, atol=1e-5, rtol=1e-5)
    order = [2, 0, 3, 1]
    reordered = run(encoder, ids[order], mask[order]).last_hidden_state
    torch.testing.assert_close(reordered, together.last_hidden_state[order])


def test_without_a_mask_words_are_where_there_are_characters(
    language_model: BuildModel, padded_batch: PaddedBatch
) -> None:
    encoder = language_model().encoder
    ids, mask, _ = padded_batch
    assert torch.equal(run(encoder, ids).last_hidden_state, run(encoder, ids, mask).last_hidden_state)


def test_padding_on_the_left_is_refused(language_model: BuildModel, padded_batch: PaddedBatch) -> None:
    ids, mask, _ = padded_batch
    with pytest.raises(ValueError, match="on the right"):
        language_model()(ids.flip(1), mask.flip(1))


def test_each_direction_has_read_its_side_only(language_model: BuildModel, words: DrawWords) -> None:
    encoder, ids = language_model().encoder, words(1, 6)
    changed = ids.clone()
    changed[:, 3] = words(9, 1)[8:, 0]
    forward, backward = run(encoder, ids).last_hidden_state.chunk(2, dim=2)
    other_forward, other_backward = run(encoder, changed).last_hidden_state.chunk(2, dim=2)
    same_forward = torch.isclose(forward, other_forward, atol=1e-6).all(dim=2)[0]
    same_backward = torch.isclose(backward, other_backward, atol=1e-6).all(dim=2)[0]
    assert same_forward.tolist() == [True, True, True, False, False, False]
    assert same_backward.tolist() == [False, False, False, False, True, True]


def test_more_rows_than_before_begin_at_zero_and_fewer_leave_the_others(
    language_model: BuildModel, words: DrawWords
) -> None:
    encoder, ids = language_model().encoder, words(3, 5)
    state = run(encoder, ids[:2]).state
    grown = run(encoder, ids, state=state)
    torch.testing.assert_close(grown.last_hidden_state[2:], run(encoder, ids[2:]).last_hidden_state)
    expected = run(encoder, ids[:2], state=state).last_hidden_state
    torch.testing.assert_close(grown.last_hidden_state[:2], expected)
    shrunk = run(encoder, ids[:1], state=grown.state).state
    for parts, before in zip(shrunk, grown.state, strict=True):
        for part, old in zip(parts, before, strict=True):
            assert torch.equal(part[:, 1:], old[:, 1:])
            assert not torch.equal(part[:, :1], old[:, :1])


def test_the_state_is_left_out_on_request(language_model: BuildModel, words: DrawWords) -> None:
    output = run(language_model().encoder, words(2, 3), use_cache=False)
    assert output.state is None
    assert output.hidden_states is None


# The language model


def by_hand(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of what is not -100."""
    kept = targets != -100
    log_probabilities = F.log_softmax(logits[kept], dim=1)
    return -log_probabilities[torch.arange(len(log_probabilities)), targets[kept]].mean()


def test_losses_of_texts_are_those_of_the_words_after_and_before(
    language_model: BuildModel, padded_batch: PaddedBatch
) -> None:
    model = language_model()
    ids, mask, lengths = padded_batch
    labels = torch.randint(0, 40, mask.shape)
    labels[0, 3] = -100
    output = run(model, ids, mask, labels=labels, output_hidden_states=True)
    after, before = torch.full_like(labels, -100), torch.full_like(labels, -100)
    for row, length in enumerate(lengths):
        after[row, : length - 1] = labels[row, 1:length]
        before[row, 1:length] = labels[row, : length - 1]
    torch.testing.assert_close(output.forward_loss, by_hand(output.logits, after))
    torch.testing.assert_close(output.backward_loss, by_hand(output.backward_logits, before))
    torch.testing.assert_close(output.loss, (output.forward_loss + output.backward_loss) / 2)
    forward, backward = output.hidden_states[-1].chunk(2, dim=2)
    torch.testing.assert_close(output.logits, model.lm_head(forward).detach())
    torch.testing.assert_close(output.backward_logits, model.lm_head(backward).detach())
    torch.testing.assert_close(output.hidden_states[-1], run(model.encoder, ids, mask).last_hidden_state)


def test_losses_of_two_streams(language_model: BuildModel, words: DrawWords) -> None:
    model = language_model()
    ids, back = words(6, 7).chunk(2)
    targets, back_targets = torch.randint(0, 40, (2, 3, 7))
    targets[1, 4:] = -100
    streams = {"targets": targets, "backward_input_ids": back, "backward_targets": back_targets}
    output = run(model, ids, **streams)
    assert output.logits is None
    assert output.backward_logits is None
    # A backward stream is a text read from its end: the texts themselves give the same logits.
    torch.testing.assert_close(output.forward_loss, by_hand(run(model, ids).logits, targets))
    backward_logits = run(model, back.flip(1)).backward_logits.flip(1)
    torch.testing.assert_close(output.backward_loss, by_hand(backward_logits, back_targets))
    torch.testing.assert_close(output.loss, (output.forward_loss + output.backward_loss) / 2)


def test_windows_with_the_state_carried_are_the_whole_streams(
    language_model: BuildModel, words: DrawWords
) -> None:
    model = language_model()
    ids, back = words(6, 12).chunk(2)
    targets, back_targets = torch.randint(0, 40, (2, 3, 12))
    whole = run(model, ids, targets=targets, backward_input_ids=back, backward_targets=back_targets)
    state, losses = None, []
    for window in (slice(0, 4), slice(4, 8), slice(8, 12)):
        output = run(
            model,
            ids[:, window],
            targets=targets[:, window],
            backward_input_ids=back[:, window],
            backward_targets=back_targets[:, window],
            state=state,
        )
        state = output.state
        losses.append(torch.stack([output.loss, output.forward_loss, output.backward_loss]))
    expected = torch.stack([whole.loss, whole.forward_loss, whole.backward_loss])
    torch.testing.assert_close(torch.stack(losses).mean(dim=0), expected)
    assert state is not None
    torch.testing.assert_close(state, whole.state)


def test_one_stream_without_the_other_is_an_error(language_model: BuildModel, words: DrawWords) -> None:
    ids, targets = words(2, 3), torch.zeros(2, 3, dtype=torch.long)
    for streams in (
        {"targets": targets},
        {"targets": targets, "backward_input_ids": ids},
        {"targets": targets, "backward_input_ids": ids, "backward_targets": targets, "labels": targets},
    ):
        with pytest.raises(ValueError, match="two streams"):
            language_model()(ids, **streams)


def test_training_against_candidates_moves_every_parameter(
    language_model: BuildModel, words: DrawWords
) -> None:
    model = language_model().train()
    ids, back = words(6, 7).chunk(2)
    targets, back_targets = torch.randint(0, 40, (2, 3, 7))
    candidates = CandidateSampler(torch.ones(40), 20).draw(0, torch.device("cpu"))
    streams = {"targets": targets, "backward_input_ids": back, "backward_targets": back_targets}
    output = model(ids, **streams, candidates=candidates)
    assert output.loss > 0
    output.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_dropout_is_drawn_in_training_only(language_model: BuildModel, words: DrawWords) -> None:
    model, ids = language_model(dropout=0.5), words(2, 6)
    assert torch.equal(run(model, ids).logits, run(model, ids).logits)
    model.train()
    assert not torch.equal(run(model, ids).logits, run(model, ids).logits)
    assert torch.equal(
        run(model.encoder, ids, output_hidden_states=True).hidden_states[0],
        run(model.eval().encoder, ids, output_hidden_states=True).hidden_states[0],
    )


def test_a_start_from_frequencies_predicts_them(language_model: BuildModel) -> None:
    model = language_model()
    counts = torch.arange(40)
    model.start_from_frequencies(counts)
    torch.testing.assert_close(model.lm_head.bias.softmax(dim=0), (counts + 1.0) / (counts + 1.0).sum())


def test_layer_groups_hold_every_parameter_once_from_bottom_to_top(language_model: BuildModel) -> None:
    model = language_model()
    groups = model.layer_groups()
    assert len(groups) == 4
    assert groups[0][0] is model.get_input_embeddings().weight
    assert groups[-1][0] is model.get_output_embeddings().weight
    held = [id(parameter) for group in groups for parameter in group]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


def test_saved_and_loaded_it_is_the_same_and_the_encoder_loads_alone(
    language_model: BuildModel, words: DrawWords, tmp_path: Path
) -> None:
    model, ids = language_model(), words(2, 5)
    model.save_pretrained(tmp_path)
    again = ElmoForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(run(again, ids).logits, run(model, ids).logits)
    encoder = ElmoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(run(encoder, ids).last_hidden_state, run(model.encoder, ids).last_hidden_state)


def test_a_head_that_a_checkpoint_lacks_begins_as_a_new_one(
    language_model: BuildModel, tmp_path: Path
) -> None:
    language_model().encoder.save_pretrained(tmp_path)
    model = ElmoForCausalLM.from_pretrained(tmp_path)
    assert not model.lm_head.bias.any()
    assert 0.5 < model.lm_head.weight.std() * 6**0.5 < 2.0
    forget = model.encoder.layers[0].bias.chunk(4, dim=1)[1]
    assert not (forget == 1).any()  # what was loaded stays
