"""A GGUF model and its context, as llama.cpp holds them."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import llama_cpp
from llama_cpp import llama_cpp as native

from ...frames import CacheType, LoadOptions
from ...request import Adapter
from ..draft.guesses import MOST_CHECKED
from ..prefix.fingerprint import fingerprint_files
from .backend import LoadError
from .llama_abort import AbortFlag
from .llama_log import LlamaLog
from .llama_memory import ContextMemory
from .llama_weights import count_usable_cores, describe_weights, open_weights

KEPT_SLOTS = 32
"""How many ended sequences may stay in the cache."""
KEPT_STATES = 4
"""The same for models that hold a state of fixed size for each."""
DEFAULT_CACHE_BYTES = 2 << 30
"""How much memory the context may take where nobody stated its length."""
LEAST_CONTEXT = 4096
ABSURD_SHARE = 8
"""A context whose cache would take so many times the machine's memory is refused before it is tried; the estimate holds for
plain attention, and models with windows or states need less."""
_CACHE_TYPES: dict[CacheType, int] = {
    "f16": native.GGML_TYPE_F16,
    "q8_0": native.GGML_TYPE_Q8_0,
    "q4_0": native.GGML_TYPE_Q4_0,
}
ENGINE = f"llama.cpp (llama-cpp-python {llama_cpp.__version__})"

log = logging.getLogger(__name__)


class LlamaModel:
    """Owns the weights and one context over them."""

    def __init__(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> None:
        self._log = LlamaLog()
        self._options = options
        self._adapters: dict[str, native.llama_adapter_lora_p] = {}
        """By path; freed with the model."""
        self._adapter_prints: dict[str, bytes] = {}
        native.llama_backend_init()
        self.system_info = native.llama_print_system_info().decode().strip(" |")
        self._model = self._open_model(path, options, on_progress)
        try:
            self.trained_context = native.llama_model_n_ctx_train(self._model)
            self.cache_bytes_per_token = _cache_bytes_per_token(self._model)
            most = round(self.trained_context * max(1.0, options.stretch))
            self.context_length = choose_context(options.context_length, most, self.cache_bytes_per_token)
            self.threads = options.threads or count_usable_cores()
            self.threads_batch = options.threads_batch or self.threads
            self.files = split_files(path)
            """The model's files, in order."""
            self.has_states = bool(native.llama_model_is_recurrent(self._model) or native.llama_model_is_hybrid(self._model))
            """Whether some layers hold one state for each sequence, whatever its length."""
            # One more is for states on their way in or out.
            kept = KEPT_STATES if self.has_states else KEPT_SLOTS
            self.slots = options.slots or options.max_sequences + kept + 1
            self.spare_outputs = MOST_CHECKED if options.draft != "off" else 0
            self.output_room = self.slots + self.spare_outputs
            """At how many tokens of a step can be sampled."""
            self.abort = AbortFlag()
            """Ends the computation that runs."""
            self.context = self._open_context()
        except BaseException:
            native.llama_model_free(self._model)
            raise
        # Both may be null by their types, but never are for a model that was loaded with its weights.
        memory = cast("native.llama_memory_t", native.llama_get_memory(self.context))
        self.memory = ContextMemory(self.context, memory)
        self.vocab = cast("native.llama_vocab_p", native.llama_model_get_vocab(self._model))
        self.cache_size = native.llama_n_ctx(self.context)
        """Cells of the cache, shared by all sequences."""
        self.cuttable = not self.has_states and native.llama_model_n_swa(self._model) == 0
        """Whether the beginning of one sequence's cache can stand for another's: not where state or window fold it together."""

    def close(self) -> None:
        """Frees context and weights."""
        native.llama_free(self.context)
        native.llama_model_free(self._model)

    @property
    def description(self) -> str:
        """As "llama 135M Q4_1, 135 M parameters, 92 MiB"."""
        return describe_weights(self._model)

    def details(self) -> dict[str, str]:
        """What people may want to know of it."""
        return {
            "model": self.description,
            "context": f"{self.context_length} of {self.trained_context} trained; {self.cache_size} cells for all, "
            f"{self.cache_bytes_per_token * self.cache_size / 2**20:.0f} MiB",
            "threads": str(self.threads),
            "system": self.system_info,
        }

    @property
    def chat_template(self) -> str | None:
        """The model's own, in Jinja; None if the file has none."""
        template = native.llama_model_chat_template(self._model, None)
        return template.decode("utf-8", "replace") if template else None

    def open_adapter(self, path: str) -> None:
        """Reads a LoRA adapter, unless it is there already.

        Raises:
            LoadError: there is none, or it is for another model.
        """
        if path in self._adapters:
            return
        if not Path(path).is_file():
            raise LoadError(f"there is no adapter {Path(path).name}.")
        self._log.forget()
        adapter = native.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not adapter:
            raise LoadError(f"the adapter {Path(path).name} does not fit this model. {self._log.why()}".strip())
        self._adapters[path] = adapter
        self._adapter_prints[path] = fingerprint_files([Path(path)])

    def identify_adapters(self, adapters: Sequence[Adapter]) -> bytes:
        """Gives bytes that tell opened adapters and their scales from others, wherever their files lie."""
        return b"".join(self._adapter_prints[one.path] + struct.pack("<d", one.scale) for one in adapters)

    def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Puts opened adapters over the weights for the computations that follow, in place of those before."""
        handles = (native.llama_adapter_lora_p_ctypes * len(adapters))(*(self._adapters[one.path] for one in adapters))
        scales = (ctypes.c_float * len(adapters))(*(one.scale for one in adapters))
        native.llama_set_adapters_lora(self.context, handles, len(adapters), scales)  # pyright: ignore[reportUnknownMemberType]

    def last_errors(self) -> str:
        """What the engine complained about since loading; "" for nothing."""
        return self._log.why()

    def _open_model(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> native.llama_model_p:
        model = open_weights(path, options, on_progress, self._log)
        if (kind := _other_kind(model)) is not None:
            native.llama_model_free(model)
            raise LoadError(f"it is {kind}, which does not continue a text.")
        return model

    def use_threads(self, decode: int, batch: int) -> None:
        """Lets the computations that follow use so many threads."""
        native.llama_set_n_threads(self.context, decode, batch)

    def open_beside(self, *, cells: int, batch_tokens: int) -> native.llama_context_p | None:
        """Opens a small second context over the same weights, for two sequences; None where there is no memory for it.

        Whoever asks for it frees it. It may be used by another thread while the main one computes.
        """
        params = self._context_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = batch_tokens
        params.n_seq_max = params.n_outputs_max = 2
        return native.llama_init_from_model(self._model, params)

    def _open_context(self) -> native.llama_context_p:
        options = self._options
        needed_bytes = self.context_length * self.cache_bytes_per_token
        if needed_bytes > ABSURD_SHARE * _memory_bytes():
            # The engine would lay out its tables first, and take the whole machine down with them.
            raise LoadError(f"no memory for a context of {self.context_length} tokens, about {needed_bytes / 2**30:.0f} GiB.")
        params = self._context_params()
        params.n_ctx = max(self.context_length, options.cache_tokens or 0)
        params.n_batch = max(options.batch_tokens, options.max_sequences)
        params.n_ubatch = min(params.n_batch, options.micro_batch_tokens)
        params.n_seq_max = self.slots
        params.n_outputs_max = self.output_room
        self._log.forget()
        context = native.llama_init_from_model(self._model, params)
        if not context:
            raise LoadError(
                f"no memory for a context of {self.context_length} tokens ({self._log.why() or 'llama.cpp gave no reason'})."
            )
        self.abort.watch(context)
        return context

    def _context_params(self) -> native.llama_context_params:
        """What all contexts of the model have in common: states can move between them."""
        options = self._options
        params = native.llama_context_default_params()
        params.kv_unified = True
        params.swa_full = False
        params.n_threads = self.threads
        params.n_threads_batch = self.threads_batch
        params.type_k = params.type_v = _CACHE_TYPES[options.cache_type]
        if options.cache_type != "f16":
            params.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.no_perf = True
        if options.stretch > 1:
            params.rope_scaling_type = native.LLAMA_ROPE_SCALING_TYPE_YARN
            params.rope_freq_scale = 1 / options.stretch
            params.yarn_orig_ctx = self.trained_context
        return params


def split_files(path: str) -> list[Path]:
    """Lists all files of a model by the first one's name, as "x-00001-of-00003.gguf"."""
    first = Path(path)
    numbered = re.fullmatch(r"(.+-)00001-of-(\d{5})\.gguf", first.name)
    if numbered is None:
        return [first]
    return [first.with_name(f"{numbered[1]}{part:05d}-of-{numbered[2]}.gguf") for part in range(1, int(numbered[2]) + 1)]


def choose_context(wanted: int | None, trained: int, cache_bytes_per_token: int) -> int:
    """Chooses how many tokens of context are served.

    What is wanted holds up to what the model was trained for. Where nothing is wanted it is the trained length, as far
    as it takes no more than `DEFAULT_CACHE_BYTES`, in whole 1024s.
    """
    most = trained if trained > 0 else LEAST_CONTEXT
    if wanted is not None:
        return min(wanted, most)
    affordable = max(LEAST_CONTEXT, DEFAULT_CACHE_BYTES // max(1, cache_bytes_per_token) // 1024 * 1024)
    return min(most, affordable)


def _cache_bytes_per_token(model: native.llama_model_p) -> int:
    """Keys and values of one token in 16 bits each, for a model with plain attention; others need less."""
    heads = max(1, native.llama_model_n_head(model))
    width = native.llama_model_n_embd(model) // heads * native.llama_model_n_head_kv(model)
    return 2 * 2 * width * native.llama_model_n_layer(model)


def _other_kind(model: native.llama_model_p) -> str | None:
    """Names what a model is that cannot be served here; None for a plain decoder."""
    if not native.llama_model_has_decoder(model):
        return "an encoder"
    if native.llama_model_has_encoder(model):
        return "an encoder with a decoder"
    return "a diffusion model" if native.llama_model_is_diffusion(model) else None


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
