"""Whether Core ML computes an ONNX graph: decided by trials in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from impetus.runtime.worker.backends import onnx_trial
from impetus.runtime.worker.backends.onnx_trial import COREML, CPU, Trial, choose_providers, judge, try_provider

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

SAME = Trial([5, 6, 7], 0.010)


@pytest.mark.parametrize(
    ("cpu", "other", "taken", "why"),
    [
        (SAME, Trial([5, 6, 7], 0.004), True, "4.0 ms a token, the CPU 10.0 ms"),
        (SAME, Trial([5, 6, 7], 0.0095), False, "9.5 ms a token"),
        (SAME, Trial([5, 6, 8], 0.001), False, "gave other tokens"),
        (SAME, "its process ended with -11", False, "the trial failed: its process ended with -11"),
        ("it said nothing", SAME, False, "nothing to compare with"),
    ],
)
def test_core_ml_has_to_give_the_same_tokens_faster(cpu: Trial | str, other: Trial | str, taken: bool, why: str) -> None:
    decided, told = judge(cpu, other)
    assert (decided, why in told) == (taken, True), told


def test_a_real_trial_tells_tokens_and_time_and_is_the_same_again(layouts: dict[str, Path]) -> None:
    if "onnx-handed-on" not in layouts:
        pytest.skip("onnx is not installed")
    graph = layouts["onnx-handed-on"] / "onnx" / "model.onnx"
    trials = [try_provider(graph, CPU, 1) for _ in range(2)]
    assert isinstance(trials[0], Trial)
    assert isinstance(trials[1], Trial)
    assert trials[0].tokens == trials[1].tokens
    assert len(trials[0].tokens) == 8
    assert trials[0].step_s > 0


def test_a_graph_that_ends_its_process_is_told_with_its_last_words(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"\x08\x0a")
    told = try_provider(broken, CPU, 1)
    assert isinstance(told, str)
    assert "its process ended with 1" in told
    assert "model.onnx" in told


def test_what_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_trial, "TRIAL_TIMEOUT_S", 0.01)
    assert "it took longer than" in str(try_provider(tmp_path / "model.onnx", CPU, 1))


def test_without_core_ml_or_without_the_wish_nothing_is_tried(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    assert choose_providers(missing, "cpu", [COREML, CPU], 1) == ([CPU], "CPU")
    assert choose_providers(missing, "coreml", [CPU], 1) == ([CPU], "CPU: this ONNX Runtime has no Core ML")
    providers, why = choose_providers(missing, "coreml", [COREML, CPU], 1)
    assert providers == [CPU]
    assert why.startswith("CPU, not Core ML: the trial failed")
