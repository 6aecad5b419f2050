"""The parts of torch and transformers that are used, under one roof: they say too little of their types to be checked."""

from __future__ import annotations

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


def choose_device() -> str:
    """Says where torch computes here: on the GPU of a Mac, else on the CPU."""
    return "mps" if torch.backends.mps.is_available() else "cpu"
