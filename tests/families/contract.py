"""What every family promises (nlptl/families/base.py), as tests that a family's own test class inherits.

A subclass, named `TestContract`, says which family, which tiny architecture and which texts (see `FamilyParts`); the
tests are here, in `contract_learning`, which has those of training, and in `contract_heads`.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from nlptl.training.precision import Precision, autocast, settle
from tests.families.contract_heads import HeadsContract
from tests.families.contract_learning import LearningContract
from tests.families.contract_parts import LABELS, saved

unicode_texts = st.lists(st.text(max_size=40), min_size=2, max_size=4)
few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class FamilyContract(LearningContract, HeadsContract):
    """Saving and loading, names of `transformers`, and that a text's result depends on that text alone."""

    def test_a_saved_model_is_the_same_model(
        self,
        encoder: PreTrainedModel,
        language_model: PreTrainedModel,
        classifier: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tmp_path: Path,
    ) -> None:
        batch = self.batch(tokenizer)
        for model in (encoder, language_model, classifier):
            folder = saved(tmp_path / type(model).__name__, model, tokenizer)
            again = type(model).from_pretrained(folder).eval()
            assert again.state_dict().keys() == model.state_dict().keys()
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, again.state_dict()[name])
            with torch.inference_mode():
                for one, other in zip(figures(model, batch), figures(again, batch), strict=True):
                    near(one, other)  # weights that lie elsewhere in memory may be summed in another order
            files = {file.name for file in folder.iterdir()}
            weights = {name for name in files if not name.endswith((".json", ".txt"))}
            assert weights == {"model.safetensors"}  # and so nothing that has to be unpickled
            if model.get_output_embeddings() is not None and model.config.tie_word_embeddings:
                assert again.get_output_embeddings().weight is again.get_input_embeddings().weight

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_settled_model_computes_what_it_did(
        self,
        encoder: PreTrainedModel,
        classifier: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        precision: Precision,
    ) -> None:
        """What only products read is laid out for them, in their type: no further from fp32 than autocast is."""
        batch, device = self.batch(tokenizer), torch.device("cpu")
        for model in (encoder, classifier):
            settled = copy.deepcopy(model)
            settle(settled, precision)
            dtypes = {name: parameter.dtype for name, parameter in settled.named_parameters()}
            assert all(dtypes[name] is torch.float32 for name in dtypes if name.endswith("bias"))
            assert settled.get_input_embeddings().weight.dtype is torch.float32
            with torch.inference_mode():
                exact = figures(model, batch)
                with autocast(device, precision):
                    cast, found = figures(model, batch), figures(settled, batch)
            for wanted, near_by, figure in zip(exact, cast, found, strict=True):
                if precision == "fp32":
                    near(figure, wanted)
                else:  # some figures are few, and so by chance nearer than one rounding of them
                    assert rms(figure - wanted) <= 1.25 * rms(near_by - wanted) + 2**-8 * rms(wanted)

    def test_a_classifier_starts_from_the_encoder_of_the_language_model(
        self, encoder: PreTrainedModel, classifier: PreTrainedModel
    ) -> None:
        body = classifier.base_model.state_dict()
        # A classifier may know tokens that the language model does not.
        assert body.keys() - encoder.state_dict().keys() <= {"new_embeddings.weight"}
        assert all(torch.equal(tensor, body[name]) for name, tensor in encoder.state_dict().items())

    @pytest.mark.timeout(600)  # another process, which on a busy machine takes its time to import everything
    def test_the_auto_classes_know_it(
        self,
        language_model_folder: Path,
        classifier: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tmp_path: Path,
    ) -> None:
        """In a process that has imported nothing but nlptl and transformers."""
        script = """
import json, sys, nlptl, transformers as t
lm, classifier, text, *names = sys.argv[1:]
print(json.dumps([
    *(type(getattr(t, name).from_pretrained(lm)).__name__ for name in names),
    type(t.AutoModelForSequenceClassification.from_pretrained(classifier)).__name__,
    t.pipeline("text-classification", classifier, device="cpu", top_k=None)([text])[0],
]))
"""
        family = self.family
        wanted = {
            "AutoConfig": family.config_class,
            "AutoTokenizer": type(tokenizer),
            "AutoModel": family.encoder_class,
            **({family.language_model_auto: family.language_model_class} if family.predicts_tokens else {}),
        }
        folder = saved(tmp_path / "classifier", classifier, tokenizer)
        done = subprocess.run(
            [sys.executable, "-c", script, str(language_model_folder), str(folder), self.texts[0], *wanted],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        *names, answers = json.loads(done.stdout.splitlines()[-1])
        assert names == [kind.__name__ for kind in (*wanted.values(), family.classifier_class)]
        with torch.inference_mode():
            logits = classifier(**self.batch(tokenizer, self.texts[:1])).logits[0]
        scores = {answer["label"]: answer["score"] for answer in answers}
        assert scores == pytest.approx(dict(zip(LABELS, logits.softmax(0).tolist(), strict=True)), abs=1e-5)

    # -- a text's result depends on the text alone

    @few
    @example(texts=["", "a"])
    @given(texts=unicode_texts)
    def test_a_text_is_the_same_in_any_company(
        self,
        texts: list[str],
        classifier: PreTrainedModel,
        encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        company = [
            *reversed(texts),
            " ".join(self.texts[:3]),
        ]  # another order, longer padding, a larger batch
        together = self.batch(tokenizer, company)
        with torch.inference_mode():
            vectors, logits = classifier.represent(**together), classifier(**together).logits
            states = encoder(**together, output_hidden_states=True).hidden_states
            for row, text in enumerate(company[:-1]):
                alone = self.batch(tokenizer, [text])
                for one, many in zip(classifier.represent(**alone), vectors, strict=True):
                    near(one[0], many[row])
                near(classifier(**alone).logits[0], logits[row])
                length = int(alone["attention_mask"].sum())
                for one, many in zip(
                    encoder(**alone, output_hidden_states=True).hidden_states, states, strict=True
                ):
                    near(one[0, :length], many[row, :length])

    @few
    @given(texts=unicode_texts)
    def test_the_tokenizer_reads_a_text_alike_alone_in_a_batch_and_after_saving(
        self, texts: list[str], tokenizer: PreTrainedTokenizerBase, language_model_folder: Path
    ) -> None:
        loaded = AutoTokenizer.from_pretrained(language_model_folder)
        alone = [np.asarray(tokenizer(text)["input_ids"]) for text in texts]
        for together in (tokenizer(texts), loaded(texts)):
            for one, other in zip(alone, together["input_ids"], strict=True):
                assert np.array_equal(one, np.asarray(other))
        assert len(loaded) == len(tokenizer)

    def test_state_carries_a_text_from_piece_to_piece(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Pieces of different length in each row, read one after the other, equal the whole: in a model of both
        directions, the half that reads forward."""
        for backward in (False, True)[: 1 + self.backward]:
            encoder = self.new_language_model(tokenizer, backward).base_model
            if "state" not in inspect.signature(encoder.forward).parameters:
                pytest.skip("this family keeps no state")
            stream = torch.from_numpy(self.stream(tokenizer))
            ids = torch.stack([stream[:13], stream[13:26]])
            with torch.inference_mode():
                whole = encoder(ids).last_hidden_state
                width = whole.shape[2] // (2 if self.bidirectional else 1)
                for row, cut in ((0, 4), (1, 7)):
                    pieces = [ids[row : row + 1, :cut], ids[row : row + 1, cut:]]
                    results, state = [], None
                    for piece in pieces[::-1] if backward else pieces:
                        output = encoder(piece, state=state)
                        state = output.state
                        results.append(output.last_hidden_state[0])
                    carried = torch.cat(results[::-1] if backward else results)
                    near(carried[:, :width], whole[row, :, :width])

    def test_hidden_states_are_the_embedding_and_one_a_layer(
        self, encoder: PreTrainedModel, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        batch = self.batch(tokenizer)
        with torch.inference_mode():
            for model in (encoder, language_model):
                assert model(**batch).hidden_states is None
                states = model(**batch, output_hidden_states=True).hidden_states
                assert len(states) == 1 + encoder.config.num_hidden_layers
                assert all(state.shape[:2] == batch["attention_mask"].shape for state in states)
                assert all(torch.isfinite(state).all() for state in states)

    def test_every_named_size_can_be_built(self, tokenizer: PreTrainedTokenizerBase) -> None:
        sizes = []
        for size in self.family.sizes:
            with torch.device("meta"):
                model = self.family.language_model_class(self.family.build_config(size, tokenizer, False, {}))
            sizes.append(model.num_parameters())
        assert sizes == sorted(sizes)  # they are listed from the smallest


def figures(model: PreTrainedModel, batch: dict[str, Tensor]) -> list[Tensor]:
    """All that a model says of a batch: its hidden states, and its logits where it has any."""
    output = model(**batch, output_hidden_states=True)
    logits = [output.logits] if "logits" in output else []
    return [*output.hidden_states, *logits]


def near(one: Tensor, other: Tensor) -> None:
    """Equal but for the order of sums."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def rms(x: Tensor) -> float:
    """The root of the mean square."""
    return float(x.double().square().mean().sqrt())
