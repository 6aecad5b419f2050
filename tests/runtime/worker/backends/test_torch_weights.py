"""A checkpoint that would run a program is refused in words that lead nobody to run it."""

import json
import os
from pathlib import Path

import pytest

from impetus.runtime.worker.backends.backend import LoadError

torch = pytest.importorskip("torch")
from impetus.runtime.worker.backends.torch_weights import open_weights  # noqa: E402


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_what_a_pickle_asks_for_is_named_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = tmp_path / "model"
    folder.mkdir()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float32", **sizes})
    )
    torch.save({"model.norm.weight": torch.zeros(16), "evil": Evil(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match=r"holds more than weights") as told:
        open_weights(folder, "cpu", lambda share: None, kind="float32")
    assert f"('{os.system.__module__}.system'); nothing of it was run" in str(told.value)
    assert "weights_only" not in str(told.value)
    assert not marker.exists()
