"""The parts of MLX and mlx-lm that are used, under one roof: neither says enough of its types to be checked."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, cast

import mlx.core
import mlx.utils
from mlx_lm import utils as mlx_lm_utils  # pyright: ignore[reportMissingTypeStubs]
from mlx_lm.models import cache as mlx_lm_cache  # pyright: ignore[reportMissingTypeStubs]

mx: Any = mlx.core
caches: Any = mlx_lm_cache
load_model: Any = cast("Any", mlx_lm_utils).load_model
quantize_model: Any = cast("Any", mlx_lm_utils).quantize_model
save_model: Any = cast("Any", mlx_lm_utils).save_model
save_config: Any = cast("Any", mlx_lm_utils).save_config
tree_flatten: Any = cast("Any", mlx.utils).tree_flatten
tree_unflatten: Any = cast("Any", mlx.utils).tree_unflatten

ENGINE = f"mlx-lm {version('mlx-lm')} (mlx {version('mlx')})"


def on_gpu() -> bool:
    """Whether MLX computes on a GPU here."""
    return bool(mx.default_device() == mx.gpu)
