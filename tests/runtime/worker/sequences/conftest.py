"""Small models in every layout that an engine without a GPU computes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_tools import find_starter
from tiny_folder import make_tiny_folder

LAYOUTS = {
    "mlx": "mlx",
    "torch": "torch",
    "torch-checkpoint": "torch",
    "onnx-in-place": "onnx",
    "onnx-handed-on": "onnx",
    "onnx-merged": "onnx",
}
"""Names of layouts, and the engine that computes each."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in Hugging Face's layout."""
    return make_tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny-llama", find_starter())


@pytest.fixture(scope="session")
def layouts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where it lies in which layout; those whose library is missing are left out."""
    found = {"mlx": tiny, "torch": tiny}
    root = tmp_path_factory.mktemp("layouts")
    if find_spec("onnx") is not None:
        from tiny_onnx import make_community_folder, make_genai_folder

        found["onnx-in-place"] = make_genai_folder(root / "genai", tiny)
        found["onnx-handed-on"] = make_community_folder(root / "community", tiny)
        found["onnx-merged"] = make_community_folder(root / "merged", tiny, merged=True)
    if find_spec("torch") is not None:
        from tiny_checkpoint import make_checkpoint_folder

        found["torch-checkpoint"] = make_checkpoint_folder(root / "checkpoint", tiny)
    return found


@pytest.fixture(params=list(LAYOUTS))
def layout(request: pytest.FixtureRequest, layouts: dict[str, Path]) -> tuple[str, Path]:
    """An engine's name and a folder for it."""
    name: str = request.param
    if name not in layouts:
        pytest.skip(f"what makes the layout {name} is not installed")
    return LAYOUTS[name], layouts[name]
