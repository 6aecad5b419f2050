"""Checkpoints that would run a program are refused in words that lead nobody to run it; all others are computed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.backends.backend import LoadError
from impetus.runtime.worker.sequences.runner import Turn

torch = pytest.importorskip("torch")
from impetus.runtime.worker.backends.torch import TorchRunner  # noqa: E402
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


def test_a_model_that_sdpa_cannot_compute_is_computed_all_the_same(tmp_path: Path) -> None:
    # Gemma 2 bounds its scores, which PyTorch's own attention does not; every second layer sees eight tokens here.
    transformers = pytest.importorskip("transformers")
    config = transformers.Gemma2Config(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        vocab_size=64, sliding_window=8, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(7)
    model = transformers.Gemma2ForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokens = [int(token) for token in torch.randint(1, 64, (24,))]
    with torch.inference_mode():
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    runner = TorchRunner()
    runner.open(tmp_path, LoadOptions(threads=1), lambda share: None)
    states = [runner.begin() for _ in range(2)]
    for state, length in zip(states, (20, 13), strict=True):
        runner.extend(state, tokens[:length], "none")
    for _ in range(3):
        places = [state.length for state in states]
        found = runner.decode([Turn(state, tokens[at], None) for state, at in zip(states, places, strict=True)])
        np.testing.assert_allclose(np.stack(found), expected[places], atol=1e-4)
    runner.close()
