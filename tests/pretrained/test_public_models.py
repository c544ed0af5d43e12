"""Public models by name, from a registry of tiny releases on a server of the tests' own."""

from __future__ import annotations

import gzip
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import nlptl
from nlptl.commands.invocation import Invocation
from nlptl.commands.model_list import list_models, show_model
from nlptl.commands.public_models import download_model
from nlptl.config import DownloadModelConfig, ListModelsConfig, ShowModelConfig
from nlptl.errors import ModelError, UsageError
from nlptl.families import FAMILIES
from nlptl.pretrained import public_models as registry
from nlptl.pretrained.models import find_model
from nlptl.pretrained.places import embedded_models
from nlptl.pretrained.public_models import public_models
from nlptl.training.progress import Reporter
from tests.pretrained.conftest import Server, missing
from tests.releases import elmo_release, fastai_language_model, gpt_release

FACTS = {"output", "family", "parameters", "vocabulary", "ignored_keys", "bytes", "verified", "files"}
WORDS = ["xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "a", "b", "c", "d"]
GLOVE = b"good 1.0 2.0\nbad -1.0 0.5\n"


def test_every_public_model_is_imported_as_its_family_is_and_has_what_its_import_needs() -> None:
    for model in public_models().values():
        family = FAMILIES[model.family]
        assert model.source in (*family.imports, "native"), model.name
        options = {option for file in model.files for option in (file.option, *file.members) if option}
        needed = {
            "fastai": {"weights", "vocab"},
            "allennlp": {"weights", "options"},
            "openai": {"directory"},
            "native": set(),
        }
        assert options == needed.get(model.source, {"weights"}), model.name
        assert model.name not in embedded_models()
        assert model.companion is None or public_models()[model.companion].companion == model.name
        names = [file.name for file in model.files]
        assert len(set(names)) == len(names), model.name
        for address in [address for file in model.files for address in file.addresses]:
            assert address.startswith(("https://", "hf://")), model.name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bytes": None}, "either bytes or bytes_at_most"),
        ({"bytes_at_most": 9}, "either bytes or bytes_at_most"),
        ({"hash": {"kind": "sha256", "value": "ab"}}, "has 64 digits"),
        ({"members": {"weights": "w"}, "option": "weights"}, "either an option or members"),
        ({"adresses": []}, "adresses"),
    ],
)
def test_a_mistake_in_the_registry_is_found(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        registry.PublicFile.model_validate({"addresses": ["https://a/b"], "bytes": 5, **change})


@pytest.fixture
def releases(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A registry of one tiny model of each system, all on the server."""

    def file(path: Path, **values: Any) -> dict[str, Any]:
        size = path.stat().st_size
        return {
            "addresses": [server.serve(f"/{path.name}", content=path.read_bytes())],
            "bytes": size,
            **values,
        }

    made = tmp_path / "releases"
    made.mkdir()
    torch.save(fastai_language_model(), made / "lm.pth")
    (made / "itos.pkl").write_bytes(pickle.dumps(WORDS))
    for name in ("fwd", "bwd"):
        with tarfile.open(made / f"{name}.tgz", "w:gz") as archive:
            archive.add(made / "lm.pth", f"{name}/lm.pth")
            archive.add(made / "itos.pkl", f"{name}/itos.pkl")
    elmo_release(made)
    gpt_release(made / "gpt", width=12)
    (made / "glove.txt.gz").write_bytes(gzip.compress(GLOVE))
    members = {"weights": "lm.pth", "vocab": "itos.pkl"}
    files: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
        "tiny-forward": ("ulmfit", "fastai", [file(made / "fwd.tgz", members=members)]),
        "tiny-backward": ("ulmfit", "fastai", [file(made / "bwd.tgz", members=members)]),
        "tiny-elmo": (
            "elmo",
            "allennlp",
            [file(made / "w.hdf5", option="weights"), file(made / "o.json", option="options")],
        ),
        "tiny-gpt": (
            "gpt",
            "openai",
            [file(path, option="directory") for path in sorted((made / "gpt").iterdir())],
        ),
        "tiny-glove": ("wordvectors", "glove", [file(made / "glove.txt.gz", option="weights")]),
    }
    found = {
        name: {"name": name, "family": family, "source": source, "files": entries}
        | dict.fromkeys(("architecture", "licence", "page"), "-")
        | {"backward": name == "tiny-backward"}
        for name, (family, source, entries) in files.items()
    }
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(list(found.values())), encoding="utf-8")
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "registry.yaml")
    registry.public_models.cache_clear()
    return server


@pytest.fixture(autouse=True)
def registry_as_it_was() -> Any:
    yield
    registry.public_models.cache_clear()


def download(name: str, *, force: bool = False, dry_run: bool = False, **values: Any) -> dict[str, Any]:
    invocation = Invocation(force=force, dry_run=dry_run, reporter=Reporter(True))
    return download_model(DownloadModelConfig(name=name, **values), invocation)


@pytest.mark.parametrize("name", ["tiny-forward", "tiny-backward", "tiny-elmo", "tiny-glove"])
def test_a_name_is_a_model_that_is_downloaded_and_converted_once(name: str, releases: Server) -> None:
    model = public_models()[name]
    found = find_model(name, reporter=Reporter(True))
    assert found.family.name == model.family
    assert found.has_tokenizer
    assert (found.config.get("direction") == "backward") == model.backward
    requests = len(releases.asked)
    assert requests == len(model.files)
    report = download(name)
    assert set(report) == FACTS
    assert (report["family"], report["verified"]) == (model.family, "first-download")
    assert report["output"] == str(found.path.parent)
    assert report["bytes"] == model.bytes
    loaded = found.family.encoder_class.from_pretrained(found.path)
    assert report["vocabulary"] == loaded.config.vocab_size
    assert find_model(name, offline=True).path == found.path
    assert len(releases.asked) == requests, "it was downloaded again"


def test_a_release_of_many_files_goes_to_an_output_folder(releases: Server, tmp_path: Path) -> None:
    plan = download("tiny-gpt", dry_run=True, output=tmp_path / "out")
    assert len(plan["files"]) == 13
    assert releases.asked == []
    report = download("tiny-gpt", output=tmp_path / "out")
    assert find_model(str(tmp_path / "out")).family.name == "gpt"
    assert (report["output"], len(report["files"])) == (str(tmp_path / "out"), 13)
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        download("tiny-gpt", output=tmp_path / "out")
    download(
        "tiny-gpt", output=tmp_path / "out", force=True, offline=True
    )  # its files are still in the cache
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine.txt", "model"]


def test_a_download_that_fails_leaves_no_model(releases: Server, tmp_path: Path) -> None:
    releases.serve("/o.json", missing)
    with pytest.raises(
        ModelError, match=r"o\.json could not be downloaded \(127.* 404\), tiny-elmo; try again"
    ):
        find_model("tiny-elmo", reporter=Reporter(True))
    releases.serve("/o.json", content=b"{}" + b" " * (public_models()["tiny-elmo"].files[1].largest - 2))
    with pytest.raises(ModelError, match="json"):
        find_model("tiny-elmo", reporter=Reporter(True))
    (tmp_path / "cache" / "downloads" / "tiny-elmo" / "w.hdf5").unlink()
    with pytest.raises(ModelError, match="has not been downloaded, and --offline"):
        find_model("tiny-elmo", offline=True)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_the_list_and_a_model_say_what_is_here(releases: Server) -> None:
    def listed() -> dict[str, dict[str, Any]]:
        report = list_models(ListModelsConfig(), Invocation())
        return {model.pop("name"): model for model in report["models"]}

    before = listed()
    assert list(before) == [*embedded_models(), *public_models()]
    assert before["ulmfit-mini"]["family"] == "ulmfit"
    assert before["ulmfit-mini"]["licence"] == "apache-2.0"
    assert before["ulmfit-mini"]["architecture"].startswith("A small forward AWD-LSTM language model")
    assert [name for name, model in before.items() if model["downloaded"]] == embedded_models()
    download("tiny-glove")
    assert listed()["tiny-glove"]["downloaded"]
    shown = show_model(ShowModelConfig(name="tiny-glove"), Invocation())
    assert (Path(shown["path"]) / "model.safetensors").is_file()
    assert shown["files"][0]["name"] == "glove.txt.gz"
    with pytest.raises(ModelError, match="did you mean 'tiny-glove'"):
        show_model(ShowModelConfig(name="tiny-glov"), Invocation())


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A classifier of an embedded model, its head as it was drawn."""
    nlptl.register_families()
    found = find_model("ulmfit-mini")
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    labels |= {"problem_type": "single_label_classification"}
    found.family.build_classifier([found.path], {}, labels).save_pretrained(tmp_path / "model")
    found.load_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("way", ["--offline", "HF_HUB_OFFLINE"])
def test_offline_no_command_opens_a_socket(
    way: str,
    command: Callable[..., Any],
    untrained: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A variable is tried without the option by the functions themselves; `command` always gives the option."""
    monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / "cache"))
    if way == "HF_HUB_OFFLINE":
        monkeypatch.setenv("HF_HUB_OFFLINE", "true")
        with pytest.raises(ModelError, match="nlptl models download ulmfit-wt103"):
            find_model("ulmfit-wt103")
        with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids to fetch it"):
            find_model("owner/no-such-model")
        with pytest.raises(ModelError, match="nlptl models download openai-gpt"):
            download("openai-gpt")
        assert find_model("ulmfit-mini").family.name == "ulmfit"
        assert not show_model(ShowModelConfig(name="openai-gpt"), Invocation())["downloaded"]
        return
    listed = command("models", "list", "--json")
    assert {model["family"] for model in json.loads(listed.stdout)["models"]} >= {"ulmfit", "elmo", "gpt"}
    assert json.loads(command("models", "show", "elmo-original", "--json").stdout)["path"] is None
    for name in ("ulmfit-wt103", "openai-gpt"):
        refused = command("models", "download", name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("error: a public model that has not been downloaded")
        assert refused.stderr.count("\n") == 1
    assert command("models", "download", "ulmfit-mini").returncode == 2
    predicted = command("predict", "-", "--model", untrained, stdin=b"the film was wonderful\n")
    assert predicted.returncode == 0, predicted.stderr
    words = ("extract-features", "--model", "ulmfit-mini", "--data", "-", "-o", tmp_path / "f.npy")
    embedded = command(*words, stdin=b"a film\n")
    assert embedded.returncode == 0, embedded.stderr
    unfit = command("predict", "-", "--model", "ulmfit-wt103", stdin=b"a film\n")
    assert "a language model, not a classifier, ulmfit-wt103" in unfit.stderr
