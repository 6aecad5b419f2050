"""How likely a text is found: by our engine, and by the bare library on the same files; in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.backends.choose import find_backend


def measure(engine: str, folder: Path, tokens: list[int]) -> float:
    """Gives the mean negative log-likelihood of tokens by our engine, each after those before it."""
    backend: Any = find_backend(engine)()
    runner = backend._runner
    runner.open(folder, LoadOptions(threads=2), lambda _: None)
    # All at once, as the bare library does: graphs that round activations do so by the range of all of them.
    return mean_loss(runner.extend(runner.begin(), tokens, "all"), tokens)


def measure_bare(engine: str, folder: Path, tokens: list[int]) -> float:
    """Gives the same by the library alone, all at once."""
    if engine == "mlx":
        import mlx.core as mx
        from mlx_lm.utils import load_model

        base = json.loads((folder / "config.json").read_text())["rope_parameters"]["rope_theta"]
        model, _ = load_model(folder, model_config={"rope_theta": base})
        model.set_dtype(mx.float32)
        return mean_loss(np.array(model(mx.array([tokens]))[0].astype(mx.float32)), tokens)
    if engine == "onnx":
        import onnxruntime

        (graph,) = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        feed: dict[str, Any] = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, len(tokens)), np.int64),
            "position_ids": np.arange(len(tokens), dtype=np.int64)[None],
        }
        config = json.loads((folder / "config.json").read_text())
        nothing = np.zeros((1, config["num_key_value_heads"], 0, config["head_dim"]), np.float32)
        for one in session.get_inputs():
            feed.setdefault(one.name, nothing)
        known = {one.name for one in session.get_inputs()}
        (scores,) = session.run(["logits"], {name: value for name, value in feed.items() if name in known})
        return mean_loss(scores[0], tokens)
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    with torch.inference_mode():
        return mean_loss(model(torch.tensor([tokens])).logits[0].float().numpy(), tokens)


def mean_loss(scores: Any, tokens: list[int]) -> float:
    """Scores have shape (tokens, vocabulary)."""
    scores = scores.astype(np.float64)
    peaks = scores.max(-1, keepdims=True)
    logs = scores - peaks - np.log(np.exp(scores - peaks).sum(-1, keepdims=True))
    return float(-logs[np.arange(len(tokens) - 1), tokens[1:]].mean())


if __name__ == "__main__":
    name, place, text = sys.argv[1:]
    print(json.dumps([measure(name, Path(place), json.loads(text)), measure_bare(name, Path(place), json.loads(text))]))
