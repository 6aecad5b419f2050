"""Counts a model's weights, and what it keeps of its context, from its config.json alone; for models that are not here yet too.

Keys are those of Hugging Face transformers (https://huggingface.co/docs/transformers/main_classes/configuration). The
counts leave out norms and biases, which are a thousandth of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from .header import ActiveWeights, KvLayout

_STATE_NUMBER_BYTES = 4
_HYBRID_INTERVAL = {"qwen3_next": 4, "qwen3_5": 4, "qwen3_5_moe": 4, "qwen3_5_text": 4, "qwen3_5_moe_text": 4}
"""Every n-th layer attends, where config.json does not list the layers' types."""
_WINDOW_PATTERN = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "gpt_oss": 2}
"""All of so many layers but one have a window, where config.json does not list the layers' types."""
_TIED = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "cohere", "cohere2"})
"""Families whose output matrix is the table of tokens unless their config.json says otherwise."""


@dataclass(frozen=True, slots=True)
class ConfigWeights:
    """What a config.json tells of the weights' number."""

    parameters: int
    active_parameters: int
    """What one token takes."""
    mixture: bool
    kv_layout: KvLayout

    def active(self, size_bytes: int) -> ActiveWeights:
        """What one token takes of files of so many bytes."""
        share = self.active_parameters / self.parameters
        return ActiveWeights(int(size_bytes * share), self.active_parameters, self.mixture)


def count_weights(config: Mapping[str, object]) -> ConfigWeights | None:
    """Counts; None where the config is not one of a decoder, or lacks what it takes."""
    model = _Model(text_settings(config))
    return model.count() if model.is_complete else None


def text_settings(config: Mapping[str, object]) -> Mapping[str, object]:
    """The keys of the model of texts, before those of a whole that takes pictures too."""
    inner = config.get("text_config")
    return {**config, **cast("Mapping[str, object]", inner)} if isinstance(inner, Mapping) else config


class _Model:
    """One config, key by key."""

    def __init__(self, facts: Mapping[str, object]) -> None:
        self._facts = facts
        self.width, self.layers = self._integer("hidden_size"), self._integer("num_hidden_layers")
        self.heads, self.vocabulary = self._integer("num_attention_heads"), self._integer("vocab_size")
        self.kv_heads = self._integer("num_key_value_heads") or self.heads
        self.head = self._integer("head_dim") or (self.width // self.heads if self.heads else 0)
        self.inner = self._integer("intermediate_size", "moe_intermediate_size")

    @property
    def is_complete(self) -> bool:
        return min(self.width, self.layers, self.heads, self.vocabulary, self.inner) > 0

    def count(self) -> ConfigWeights:
        kinds = self._kinds()
        layers = sum(self._attention() if kind != "linear" else self._linear() for kind in kinds)
        all_experts, chosen, mixture = self._feed_forward()
        tokens = self.vocabulary * self.width
        tied = self._facts.get("tie_word_embeddings", self._facts.get("model_type") in _TIED)
        output = 0 if tied else tokens
        return ConfigWeights(
            parameters=layers + all_experts + tokens + output,
            # A token looks its own row up, and is scored against all.
            active_parameters=layers + chosen + tokens,
            mixture=mixture,
            kv_layout=self._kv_layout(kinds),
        )

    def _kinds(self) -> list[str]:
        """Says of each layer whether it sees the whole context ("full"), a window of it, or keeps a state ("linear")."""
        listed = self._facts.get("layer_types")
        if isinstance(listed, list) and len(cast("list[object]", listed)) >= self.layers:
            names = [str(name) for name in cast("list[object]", listed)[: self.layers]]
            return [_kind(name) for name in names]
        family = str(self._facts.get("model_type"))
        if interval := self._integer("full_attention_interval") or _HYBRID_INTERVAL.get(family, 0):
            return ["full" if (layer + 1) % interval == 0 else "linear" for layer in range(self.layers)]
        pattern = self._integer("sliding_window_pattern") or _WINDOW_PATTERN.get(family, 0)
        if pattern and self._integer("sliding_window"):
            return ["full" if (layer + 1) % pattern == 0 else "window" for layer in range(self.layers)]
        return ["full"] * self.layers

    def _attention(self) -> int:
        if latent := self._integer("kv_lora_rank"):
            rope, plain = self._integer("qk_rope_head_dim"), self._integer("qk_nope_head_dim")
            value = self._integer("v_head_dim") or self.head
            queries = self.heads * (plain + rope)
            low = self._integer("q_lora_rank")
            asked = low * (self.width + queries) if low else self.width * queries
            kept = self.width * (latent + rope) + latent * self.heads * (plain + value)
            return asked + kept + self.heads * value * self.width
        return self.width * self.head * (2 * self.heads + 2 * self.kv_heads)

    def _linear(self) -> int:
        keys = self._integer("linear_num_key_heads") * self._integer("linear_key_head_dim")
        values = self._integer("linear_num_value_heads") * self._integer("linear_value_head_dim")
        return self.width * (2 * keys + 3 * values) if values else self._attention()

    def _feed_forward(self) -> tuple[int, int, bool]:
        """All weights of the layers' inner halves, those that one token takes, and whether there are experts."""
        gated = 2 if str(self._facts.get("model_type")) in {"gpt2", "gpt_neox", "phi", "opt", "starcoder2", "nemotron"} else 3
        dense = gated * self.width * self.inner
        experts = self._integer("num_experts", "num_local_experts", "n_routed_experts")
        used = self._integer("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts")
        if not experts or not used:
            return self.layers * dense, self.layers * dense, False
        one = 3 * self.width * (self._integer("moe_intermediate_size") or self.inner)
        shared = self._integer("n_shared_experts") * one + 3 * self.width * self._integer("shared_expert_intermediate_size")
        router = self.width * experts
        first = min(self._integer("first_k_dense_replace"), self.layers)
        mixed = self.layers - first
        everything = first * dense + mixed * (experts * one + shared + router)
        return everything, first * dense + mixed * (min(used, experts) * one + shared + router), True

    def _kv_layout(self, kinds: list[str]) -> KvLayout:
        one = 2 * self.kv_heads * self.head
        lengths = (self.head,)
        if latent := self._integer("kv_lora_rank"):
            one = latent + self._integer("qk_rope_head_dim")
            lengths = (one,)
        keys, values = self._integer("linear_key_head_dim"), self._integer("linear_value_head_dim")
        state = self._integer("linear_num_value_heads") * keys * values * _STATE_NUMBER_BYTES
        windows = kinds.count("window")
        return KvLayout(
            width=kinds.count("full") * one,
            window_width=windows * one,
            window=self._integer("sliding_window") or None if windows else None,
            state_bytes=kinds.count("linear") * state,
            head_lengths=lengths,
        )

    def _integer(self, *keys: str) -> int:
        """The first of these that is a number; 0 where none is."""
        for key in keys:
            value = self._facts.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return 0


def _kind(name: str) -> str:
    if "sliding" in name or "chunked" in name or "local" in name:
        return "window"
    return "full" if "full" in name or name == "attention" else "linear"
