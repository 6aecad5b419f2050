"""How a model is to be held, as LM Studio's SDKs say it on a WebSocket: keys and values in layers.

Keys after https://github.com/lmstudio-ai/lmstudio-js/blob/main/packages/lms-kv-config/src/schema.ts. What the plan
decides better by itself, such as flash attention, is ignored.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ...runtime.config import KvType
from ...runtime.tuning.wishes import LoadWishes
from .lmstudio_config import read_value
from .lmstudio_infos import KvStack

_PREFIX = "llm.load."
_MOST = 2**31 - 1


class KvPrecision(msgspec.Struct, frozen=True):
    """How precisely keys, or values, are kept; false leaves it open."""

    checked: bool = False
    value: str | bool | None = None


_LENGTH = msgspec.json.Decoder(int | None)
_PRECISION = msgspec.json.Decoder(KvPrecision | None)
_RATIO: msgspec.json.Decoder[float | Literal["max", "off"] | None] = msgspec.json.Decoder(float | Literal["max", "off"] | None)
_LAYERS_BY_RATIO = {"max": -1, 1.0: -1, "off": 0, 0.0: 0}
_KEPT_AS: dict[str, KvType] = {
    "f32": "f16", "f16": "f16", "q8_0": "q8_0", "q5_1": "q8_0", "q5_0": "q8_0",
    "q4_0": "q4_0", "q4_1": "q4_0", "iq4_nl": "q4_0",
}  # fmt: skip
"""The nearest that an engine keeps here."""
_PRECISE: tuple[KvType, ...] = ("f16", "q8_0", "q4_0")
"""The most precise first; keys and values are kept alike here."""


def to_wishes(stack: KvStack) -> LoadWishes | None:
    """Gives how a model is to be held; None where nothing was said. Raises InvalidRequest."""
    values: dict[str, msgspec.Raw] = {}
    for layer in stack.layers:
        for field in layer.config.fields:
            domain, _, key = field.key.partition(".load.")
            if domain in ("llm", "embedding") and key:
                values.setdefault(key, field.value)
    kinds = [_kv_type(values, key) for key in ("llama.kCacheQuantizationType", "llama.vCacheQuantizationType")]
    ratio = read_value(values, _PREFIX, "llama.acceleration.offloadRatio", _RATIO)
    return LoadWishes(
        context_length=_positive(values, "contextLength"),
        batch_tokens=_positive(values, "llama.evalBatchSize"),
        kv_type=next((kind for kind in _PRECISE if kind in kinds), None),
        # A share of the layers in between is left to the plan: on unified memory it gains nothing.
        gpu_layers=None if ratio is None else _LAYERS_BY_RATIO.get(ratio),
    ).or_none()


def _positive(values: dict[str, msgspec.Raw], key: str) -> int | None:
    number = read_value(values, _PREFIX, key, _LENGTH)
    return None if number is None or number < 1 else min(number, _MOST)


def _kv_type(values: dict[str, msgspec.Raw], key: str) -> KvType | None:
    wanted = read_value(values, _PREFIX, key, _PRECISION)
    if wanted is None or not wanted.checked or not isinstance(wanted.value, str):
        return None
    return _KEPT_AS.get(wanted.value)
