"""Which family a model belongs to, by its chat template and its control tokens."""

from __future__ import annotations

from collections.abc import Collection

from .families.apriel import Apriel
from .families.command_r import CommandR
from .families.deepseek import Deepseek, DeepseekFenced
from .families.deepseek_dsml import DeepseekV4, DeepseekV32
from .families.firefunction import FireFunction
from .families.gemma4 import FunctionGemma, Gemma4
from .families.generic import Generic
from .families.gigachat import GigaChat
from .families.glm import Glm
from .families.granite import Granite
from .families.harmony import Harmony
from .families.hermes import Hermes
from .families.kimi import Kimi
from .families.lfm2 import Lfm2
from .families.llama_json import LlamaJson
from .families.llama_pythonic import LlamaPythonic
from .families.minimax_m2 import MinimaxM2
from .families.mistral import Mistral, MistralList
from .families.nemotron import Nemotron
from .families.phi4 import Phi4
from .families.qwen3_coder import Qwen3Coder
from .families.seed_oss import SeedOss
from .family import Family
from .thoughts import find_thoughts

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        Harmony,
        MinimaxM2,
        SeedOss,
        Qwen3Coder,
        Glm,
        Kimi,
        DeepseekV32,
        DeepseekV4,
        DeepseekFenced,
        Deepseek,
        CommandR,
        Gemma4,
        FunctionGemma,
        GigaChat,
        Apriel,
        FireFunction,
        MistralList,
        Mistral,
        Nemotron,
        Granite,
        Phi4,
        Lfm2,
        Hermes,
        LlamaPythonic,
        LlamaJson,
        Generic,
    )
}
"""By name; the most specific first, as the first that matches a model is chosen."""


def choose_family(template: str, control_texts: Collection[str], name: str = "auto") -> Family:
    """Chooses the family of a model; raises KeyError for a name that is not known.

    Args:
        template: its chat template, or "".
        control_texts: the texts of its control tokens.
        name: of the family, or "auto" to find it out.
    """
    thoughts = find_thoughts(template)
    if name != "auto":
        return FAMILIES[name](thoughts)
    family = next((family for family in FAMILIES.values() if family.matches(template, control_texts)), Generic)
    return family(thoughts)
