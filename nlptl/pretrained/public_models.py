"""The public models that have a name here: where each is, how large, how it is verified, under which licence."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

REGISTRY = Path(__file__).with_name("public_models.yaml")
SECTION = ConfigDict(frozen=True, extra="forbid")


class PublishedHash(BaseModel):
    """A hash that a publisher states for a file.

    `md5-first-mib` covers the first 1,048,576 bytes alone, as in fastai 1; `git-blob-sha1` is git's name for the file.
    """

    model_config = SECTION

    kind: Literal["sha256", "md5-first-mib", "git-blob-sha1"]
    value: str = Field(pattern=r"^[0-9a-f]+$")

    @model_validator(mode="after")
    def _has_its_length(self) -> PublishedHash:
        digits = {"sha256": 64, "md5-first-mib": 32, "git-blob-sha1": 40}[self.kind]
        if len(self.value) != digits:
            raise ValueError(f"a hash of kind {self.kind} has {digits} digits")
        return self


class PublicFile(BaseModel):
    """One file of a model, which is itself a file of the checkpoint (`option`) or an archive of some (`members`)."""

    model_config = SECTION

    addresses: tuple[str, ...] = Field(min_length=1)
    bytes: int | None = None
    bytes_at_most: int | None = None
    hash: PublishedHash | None = None
    option: str | None = None
    members: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_bounded(self) -> PublicFile:
        if (self.bytes is None) == (self.bytes_at_most is None):
            raise ValueError("a file has either bytes or bytes_at_most")
        if self.option is not None and self.members:
            raise ValueError("a file has either an option or members")
        return self

    @property
    def name(self) -> str:
        """What it is called where it lies."""
        return self.addresses[0].rpartition("/")[2]

    @property
    def largest(self) -> int:
        """Bytes beyond which nothing is read."""
        size = self.bytes if self.bytes is not None else self.bytes_at_most
        assert size is not None
        return size


class PublicModel(BaseModel):
    """A model by its name.

    Attributes:
        source: the system whose checkpoint it is, as `nlptl models import --from` names it; `native` is a model folder
            as it is.
        companion: the name of the model that reads the other way.
    """

    model_config = SECTION

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    family: str
    source: Literal["fastai", "allennlp", "openai", "word2vec", "glove", "native"]
    backward: bool = False
    companion: str | None = None
    architecture: str
    licence: str
    page: str
    files: tuple[PublicFile, ...] = Field(min_length=1)

    @property
    def bytes(self) -> int | None:
        """What there is to download, where it is known exactly."""
        sizes = [file.bytes for file in self.files if file.bytes is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None

    @property
    def bytes_at_most(self) -> int:
        """What there is to download at most."""
        return sum(file.largest for file in self.files)


@functools.cache
def public_models() -> dict[str, PublicModel]:
    """All of them by name, in the order of the file."""
    entries = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    return {model.name: model for model in map(PublicModel.model_validate, entries)}
