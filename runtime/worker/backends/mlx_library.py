"""The parts of MLX and mlx-lm that are used, under one roof: neither says enough of its types to be checked."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from inspect import signature
from typing import Any, cast

import mlx.core
import mlx.utils
from mlx_lm import utils as mlx_lm_utils  # pyright: ignore[reportMissingTypeStubs]
from mlx_lm.models import cache as mlx_lm_cache  # pyright: ignore[reportMissingTypeStubs]

from ...frames import LoadOptions

mx: Any = mlx.core
caches: Any = mlx_lm_cache
load_model: Any = cast("Any", mlx_lm_utils).load_model
find_classes: Any = signature(load_model).parameters["get_model_classes"].default
quantize_model: Any = cast("Any", mlx_lm_utils).quantize_model
save_model: Any = cast("Any", mlx_lm_utils).save_model
save_config: Any = cast("Any", mlx_lm_utils).save_config
tree_flatten: Any = cast("Any", mlx.utils).tree_flatten
tree_unflatten: Any = cast("Any", mlx.utils).tree_unflatten

FREED_BYTES = 1 << 30
"""How much of what was freed MLX may keep for itself; more would hide from the system what is really free."""
ENGINE = f"mlx-lm {version('mlx-lm')} (mlx {version('mlx')})"


def on_gpu() -> bool:
    """Whether MLX computes on a GPU here."""
    return bool(mx.default_device() == mx.gpu)


def hold_memory(options: LoadOptions) -> None:
    """Keeps what the GPU computes with in memory, and bounds what is kept of what was freed."""
    if on_gpu():
        with suppress(ValueError):
            info = mx.device_info() if hasattr(mx, "device_info") else mx.metal.device_info()
            mx.set_wired_limit(int(info["max_recommended_working_set_size"]))
    mx.set_cache_limit(FREED_BYTES if options.freed_bytes is None else options.freed_bytes)


def free_memory() -> None:
    """Gives back what nothing refers to any more."""
    mx.synchronize()  # to clear while the GPU still computes has crashed drivers
    mx.clear_cache()
