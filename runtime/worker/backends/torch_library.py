"""The parts of torch and transformers that are used, under one roof: they say too little of their types to be checked."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import Any, cast

import torch as _torch  # pyright: ignore[reportMissingImports]
from transformers import AutoModel as _AutoEncoder  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from transformers import AutoModelForCausalLM as _AutoModel  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from transformers import AutoModelForSequenceClassification as _AutoRanker  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from transformers.cache_utils import DynamicCache as _DynamicCache  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from transformers.cache_utils import DynamicLayer as _DynamicLayer  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

torch = cast("Any", _torch)
AutoModel = cast("Any", _AutoModel)
AutoEncoder = cast("Any", _AutoEncoder)
AutoRanker = cast("Any", _AutoRanker)
DynamicCache = cast("Any", _DynamicCache)
DynamicLayer = cast("Any", _DynamicLayer)

ENGINE = f"transformers {version('transformers')} (torch {version('torch')})"


def import_models() -> None:
    """Imports what transformers would at the first model, of any architecture: that takes longer than to load a small one."""
    import_module("transformers.models.llama.modeling_llama")
    with suppress(ImportError, AttributeError, TypeError):
        # Some hundred expressions are compiled and kept at the first call.
        import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("llama")


def choose_device() -> str:
    """Says where torch computes here: on the GPU of a Mac, else on the CPU."""
    return "mps" if torch.backends.mps.is_available() else "cpu"


import_models()
