"""What engines keep in memory while they compute: no more of it at a time than has to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.sequences.runner import Runner, Turn

PROMPT = tuple(range(100, 160))

pytestmark = pytest.mark.engine


def open_runner(engine: str, folder: Path) -> Runner[Any]:
    module = pytest.importorskip(f"impetus.runtime.worker.backends.{engine}")
    runner = {"onnx": "OnnxRunner", "torch": "TorchRunner"}[engine]
    made: Runner[Any] = getattr(module, runner)()
    made.open(folder, LoadOptions(threads=1), lambda _: None)
    return made


@pytest.mark.parametrize(("layout", "pieces"), [("onnx-handed-on", 2), ("onnx-in-place", 1)])
def test_a_prompt_is_cut_where_attention_would_take_too_much(
    layouts: dict[str, Path], layout: str, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs that append in place have a kernel for attention, which lays none of it out."""
    if layout not in layouts:
        pytest.skip(f"what makes the layout {layout} is not installed")
    runner: Any = open_runner("onnx", layouts[layout])
    whole = runner.extend(runner.begin(), PROMPT, "last")
    monkeypatch.setattr("impetus.runtime.worker.backends.onnx.MOST_ATTENTION_BYTES", 1)
    runs: list[int] = []
    run = runner._run
    monkeypatch.setattr(runner, "_run", lambda ids, *rest: runs.append(ids.shape[1]) or run(ids, *rest))
    cut = runner.extend(runner.begin(), PROMPT, "last")
    assert (len(runs), sum(runs)) == (pieces, len(PROMPT))
    np.testing.assert_allclose(cut, whole, rtol=1e-3, atol=1e-4)
    runner.close()


@pytest.mark.parametrize(("layout", "engine"), [("onnx-handed-on", "onnx"), ("onnx-in-place", "onnx"), ("torch", "torch")])
def test_sequences_that_are_put_together_are_not_there_twice(layouts: dict[str, Path], layout: str, engine: str) -> None:
    if layout not in layouts:
        pytest.skip(f"what makes the layout {layout} is not installed")
    runner: Any = open_runner(engine, layouts[layout])
    states = [runner.begin() for _ in range(2)]
    for state in states:
        runner.extend(state, PROMPT, "none")
    before = [list(state.cache.layers) if engine == "torch" else state.planes for state in states]
    together = runner.decode([Turn(state, 7, None) for state in states])
    if engine == "torch":
        assert all(layer.keys is None and layer.values is None for layers in before for layer in layers)
    else:
        assert before == [[], []]
    # Taken apart, each goes on as if it had been alone.
    alone = runner.begin()
    runner.extend(alone, [*PROMPT, 7], "none")
    expected = runner.extend(alone, [8], "last")
    np.testing.assert_allclose(together[0], together[1], rtol=1e-3, atol=1e-4)
    for state in states:
        np.testing.assert_allclose(runner.extend(state, [8], "last"), expected, rtol=1e-3, atol=1e-4)
    runner.close()
