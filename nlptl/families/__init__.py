"""The families of pretrained models: one line each."""

from nlptl.families.base import Family
from nlptl.families.elmo.family import ElmoFamily
from nlptl.families.gpt.family import GptFamily
from nlptl.families.transformer.family import TransformerFamily
from nlptl.families.ulmfit.family import UlmfitFamily
from nlptl.families.wordvectors.family import WordVectorsFamily

FAMILIES: dict[str, Family] = {
    "wordvectors": WordVectorsFamily(),
    "elmo": ElmoFamily(),
    "ulmfit": UlmfitFamily(),
    "gpt": GptFamily(),
    "transformer": TransformerFamily(),
}
