"""The families of pretrained language models: one line each."""

from nlptl.families.base import Family
from nlptl.families.ulmfit.family import UlmfitFamily

FAMILIES: dict[str, Family] = {
    "ulmfit": UlmfitFamily(),
}
