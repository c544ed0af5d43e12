"""MODEL, as a user names it -> a folder that holds a whole model of a known family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlptl.errors import ModelError
from nlptl.families import FAMILIES
from nlptl.families.base import Family
from nlptl.pretrained.checks import check_changes, check_label_names, check_model, load_tokenizer, read_shapes
from nlptl.pretrained.places import check_is_model, kept_folder, local_model_folder
from nlptl.pretrained.public_models import public_models
from nlptl.pretrained.strangers import check_config, check_files, read_object
from nlptl.training.progress import Reporter


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that has been looked at, its weights not yet loaded.

    Attributes:
        path: holds `config.json` and `model.safetensors`.
        family: by `model_type`.
        config: `config.json` as it is.
    """

    path: Path
    family: Family
    config: dict[str, Any]

    @property
    def is_classifier(self) -> bool:
        """Whether it has a trained head, by the class that saved it."""
        return self.model_class is self.family.classifier_class

    @property
    def is_language_model(self) -> bool:
        """Whether it can predict tokens."""
        return self.model_class is self.family.language_model_class

    @property
    def has_tokenizer(self) -> bool:
        """An imported checkpoint may have come without one; old native folders have its two files alone."""
        alternatives = (("tokenizer_config.json",), ("tokenizer.json",), ("vocab.json", "merges.txt"))
        return any(all((self.path / name).is_file() for name in names) for names in alternatives)

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """That of the weights in the folder."""
        return self.family.saved_class(self.config)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer, which knows no token that the model does not.

        Raises:
            ModelError: its files are damaged or are not of this model.
        """
        config = self.family.config_class.from_pretrained(self.path)
        return load_tokenizer(self.path, config, self.family.tokenizers)

    def check_changes(self, architecture: Mapping[str, Any]) -> None:
        """Keys of its config that a run sets must leave its weights their shapes.

        Raises:
            ConfigError: one does not, or is unknown, or has a value of the wrong type.
        """
        check_changes(self.path, self.model_class, architecture)


def find_model(name: str, *, offline: bool = False, reporter: Reporter | None = None) -> ModelFolder:
    """A run, a model folder, the name of an embedded or a public model, or a Hub id -> a checked folder.

    A public model that is not here yet is downloaded.

    Args:
        offline: open no connection; so does HF_HUB_OFFLINE.
        reporter: says how far a download is.

    Raises:
        ModelError: there is no such model, it is damaged, or it is of no family here; or its download fails or is
            forbidden.
    """
    folder = local_model_folder(name)
    if folder is not None:
        return check_model_folder(folder)
    if (public := public_models().get(name)) is not None:
        from nlptl.pretrained.named import local_model  # and with it what downloads

        local_model(public, offline=offline, reporter=reporter or Reporter())
        return check_model_folder(kept_folder(public) / "model")
    return check_model_folder(_from_hub(name, offline))


def check_model_folder(path: Path) -> ModelFolder:
    """Look at a folder's config and at the header of its weights, and hold one against the other; no weight is read.

    Raises:
        ModelError: a file is missing, cut short or not what its name says.
    """
    check_is_model(path)
    check_files(path)
    config = read_object(path / "config.json")
    kind = config.get("model_type")
    family = None if kind is None else next((f for f in FAMILIES.values() if f.adopts(config)), None)
    if family is None:
        known = ", ".join(FAMILIES)
        raise ModelError(
            f"a model of type {kind!r}", str(path / "config.json"), f"the families here are {known}"
        )
    if not isinstance(config.get("architectures") or [], list):
        raise ModelError("architectures is no list", str(path / "config.json"), "copy the model folder again")
    newest, version = getattr(family.config_class, "format_version", 1), config.get("format_version", 1)
    if isinstance(version, int) and version > newest:
        raise ModelError("written by a newer version of nlptl", str(path / "config.json"), "update nlptl")
    found = ModelFolder(path, family, config)
    shapes = read_shapes(path / "model.safetensors")
    check_config(
        config, path / "config.json", max((size for shape in shapes.values() for size in shape), default=0)
    )
    checked = check_model(path, found.model_class, shapes)
    if found.is_classifier:
        check_label_names(checked, path)
    return found


def _from_hub(name: str, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from nlptl.pretrained.downloads import is_offline

    offline = is_offline(offline)
    wanted = ["*.json", "*.safetensors", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=offline))
    except HFValidationError:
        raise ModelError("no such model folder, and no Hub id", name, "check the name") from None
    except LocalEntryNotFoundError:
        forbidden = "it is not in the cache, and --offline or HF_HUB_OFFLINE forbids to fetch it"
        why = forbidden if offline else "it could not be downloaded"
        raise ModelError(f"no such folder here, and as a Hub id {why}", name, "give a local folder") from None
    except (HfHubHTTPError, OSError) as error:
        cause = f"no such folder here, and as a Hub id it could not be downloaded ({type(error).__name__})"
        raise ModelError(cause, name, "check the name, or give a local folder") from None
