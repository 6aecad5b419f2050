import msgspec
import pytest
from lmstudio._kv_config import load_config_to_kv_config_stack
from lmstudio._sdk_models import LlmLoadModelConfig

from impetus.api.dialects.lmstudio_infos import KvStack
from impetus.api.dialects.lmstudio_load import to_wishes
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.tuning.wishes import LoadWishes


def stack(config: dict[str, object]) -> KvStack:
    """What LM Studio's SDK sends for a configuration."""
    sent = load_config_to_kv_config_stack(config, LlmLoadModelConfig)  # type: ignore[arg-type]
    return decoded(sent.to_dict())


def decoded(sent: object) -> KvStack:
    return msgspec.json.decode(msgspec.json.encode(sent), type=KvStack)


@pytest.mark.parametrize(
    ("config", "wishes"),
    [
        ({}, None),
        ({"flashAttention": True, "keepModelInMemory": True, "seed": 3}, None),
        ({"contextLength": 2048}, LoadWishes(context_length=2048)),
        ({"evalBatchSize": 128}, LoadWishes(batch_tokens=128)),
        ({"gpu": {"ratio": "off"}}, LoadWishes(gpu_layers=0)),
        ({"gpu": {"ratio": "max"}}, LoadWishes(gpu_layers=-1)),
        ({"gpu": {"ratio": 1.0}}, LoadWishes(gpu_layers=-1)),
        ({"gpu": {"ratio": 0.5}}, None),
        ({"llamaKCacheQuantizationType": "q4_0"}, LoadWishes(kv_type="q4_0")),
        ({"llamaKCacheQuantizationType": "q4_0", "llamaVCacheQuantizationType": "q8_0"}, LoadWishes(kv_type="q8_0")),
        ({"llamaKCacheQuantizationType": False, "llamaVCacheQuantizationType": "iq4_nl"}, LoadWishes(kv_type="q4_0")),
        (
            {"contextLength": 99, "evalBatchSize": 7, "llamaVCacheQuantizationType": "f32"},
            LoadWishes(context_length=99, batch_tokens=7, kv_type="f16"),
        ),
    ],
)
def test_settings_of_the_sdk_are_wishes(config: dict[str, object], wishes: LoadWishes | None) -> None:
    assert to_wishes(stack(config)) == wishes


def test_the_first_layer_wins_and_foreign_keys_are_left_out() -> None:
    def layer(*fields: tuple[str, object]) -> dict[str, object]:
        return {"layerName": "x", "config": {"fields": [{"key": key, "value": value} for key, value in fields]}}

    layers = [layer(("llm.load.contextLength", 5), ("llm.prediction.maxTokens", 1)), layer(("llm.load.contextLength", 6))]
    assert to_wishes(decoded({"layers": layers})) == LoadWishes(context_length=5)
    with pytest.raises(InvalidRequest, match="contextLength"):
        to_wishes(decoded({"layers": [layer(("llm.load.contextLength", "long"))]}))
