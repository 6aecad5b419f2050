"""Where a Core ML model computes: by trials, whose outcome is kept; and how its tokens are cut to what it takes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.frames import LoadOptions

pytestmark = [
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(200),
]

MakePackage = Callable[[str], Path]
SCORES = np.linspace(-10, 10, 60, dtype=np.float32).reshape(3, 20)


def choose(*tried: tuple[str, float, Any]) -> tuple[str, str]:
    from impetus.runtime.worker.backends.coreml_units import Trial, choose_units

    return choose_units([Trial(units, took_s, SCORES + off) for units, took_s, off in tried])


def test_the_gpu_is_taken_unless_the_neural_engine_is_faster_and_right() -> None:
    cpu, gpu = ("CPU_ONLY", 0.010, 0), ("CPU_AND_GPU", 0.020, 0.01)
    assert choose(cpu, gpu)[0] == "CPU_AND_GPU"
    assert choose(cpu, gpu, ("CPU_AND_NE", 0.008, 0.1))[0] == "CPU_AND_NE"
    assert choose(cpu, gpu, ("CPU_AND_NE", 0.0195, 0))[0] == "CPU_AND_GPU"
    assert choose(cpu, gpu, ("CPU_AND_NE", 0.008, 0.1), ("ALL", 0.005, 0.1))[0] == "ALL"
    assert choose(cpu, gpu, ("CPU_AND_NE", 0.008, 0.1), ("ALL", 0.0079, 0.1))[0] == "CPU_AND_NE"


def test_wrong_scores_are_never_chosen_however_fast() -> None:
    cpu, gpu = ("CPU_ONLY", 0.010, 0), ("CPU_AND_GPU", 0.020, 0)
    nothing = np.full_like(SCORES, np.nan)
    for wrong in (2.0, np.inf, nothing):
        assert choose(cpu, gpu, ("CPU_AND_NE", 0.001, wrong))[0] == "CPU_AND_GPU"
        assert choose(cpu, ("CPU_AND_GPU", 0.001, wrong))[0] == "CPU_ONLY"


def test_what_was_found_is_told() -> None:
    _, told = choose(("CPU_ONLY", 0.010, 0), ("CPU_AND_GPU", 0.0204, 0.2), ("CPU_AND_NE", 0.001, 5.0))
    assert told == "CPU_AND_GPU (CPU_ONLY 10 ms; CPU_AND_GPU 20.4 ms, 1.0% off; CPU_AND_NE 1 ms, 25.0% off)"


@pytest.mark.engine
def test_a_model_is_held_to_the_cpu_and_the_outcome_is_kept(package: MakePackage, tmp_path: Path) -> None:
    from coreml_play import Opener

    from impetus.runtime.worker.backends.coreml import CoremlRunner

    def load(opener: Opener, name: str = "parts") -> dict[str, str]:
        runner = CoremlRunner(opener)
        return runner.open(package(name), LoadOptions(converted_dir=str(tmp_path / "cache")), lambda _: None).details

    first = Opener(wrong=("CPU_AND_NE", "ALL"), failing=("CPU_AND_GPU",))
    told = load(first)["units"]
    assert told.startswith("CPU_ONLY (CPU_ONLY ")
    assert "CPU_AND_GPU failed: these units compute nothing" in told
    # Tried in turn, and the chosen one opened again: no more than one is held at a time.
    assert first.opened == ["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL", "CPU_ONLY"]
    second = Opener()
    assert load(second)["units"] == told
    assert second.opened == ["CPU_ONLY"]
    other = Opener()
    load(other, "single")
    assert len(other.opened) >= 4
    (tmp_path / "cache" / "coreml-units.json").write_text("no JSON")
    third = Opener()
    load(third)
    assert len(third.opened) >= 4


def test_plans_are_told_as_shares_of_the_work() -> None:
    from impetus.runtime.worker.backends.coreml_units import tell_plans

    devices = {name: type(name, (), {})() for name in ("MLNeuralEngineComputeDevice", "MLCPUComputeDevice")}

    class Plan:
        """What coremltools gives of one on macOS; each operation is (device, share)."""

        def __init__(self, *operations: tuple[str, float] | None) -> None:
            block = SimpleNamespace(operations=operations)
            functions = {"main": SimpleNamespace(block=block)}
            self.model_structure = SimpleNamespace(program=SimpleNamespace(functions=functions))

        def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
            return operation and SimpleNamespace(preferred_compute_device=devices[operation[0]])

        def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
            return operation and SimpleNamespace(weight=operation[1])

    engine, cpu = devices
    assert tell_plans([Plan((engine, 0.6), None, (cpu, 0.2)), Plan((engine, 0.2))]) == "Neural Engine 80%, CPU 20%"
    assert tell_plans([]) == tell_plans([Plan(None)]) == ""


def sizes(*named: int) -> Any:
    from impetus.runtime.worker.backends.coreml_shapes import Sizes

    return Sizes(min(named), max(named), tuple(sorted(named)))


def test_empty_places_are_weighed_against_reading_the_weights_again() -> None:
    assert list(sizes(1, 64).pieces(3, 500)) == [(1, 1)] * 3
    assert list(sizes(1, 64).pieces(70, 500)) == [(64, 64), (6, 64)]
    # There is no room for 64 any more.
    assert list(sizes(1, 64).pieces(66, 70)) == [(64, 64), (1, 1), (1, 1)]
    assert list(sizes(16, 64).pieces(20, 500)) == [(16, 16), (4, 16)]


@given(
    named=st.sets(st.integers(1, 300), min_size=1, max_size=4),
    ranged=st.booleans(),
    count=st.integers(1, 900),
    room=st.integers(1, 1000),
)
def test_pieces_are_of_sizes_that_are_allowed_and_have_room(named: set[int], ranged: bool, count: int, room: int) -> None:
    from impetus.runtime.worker.backends.coreml_shapes import Sizes

    allowed = Sizes(min(named), max(named)) if ranged else sizes(*named)
    taken = 0
    try:
        for number, size in allowed.pieces(count, room):
            assert 1 <= number <= size
            assert allowed.allows(size)
            assert taken + size <= room
            taken += number
    except MemoryError:
        assert allowed.least > room - taken
    else:
        assert taken == count


@given(first=st.sets(st.integers(1, 9), min_size=1), second=st.tuples(st.integers(1, 9), st.integers(-1, 9)))
def test_what_two_inputs_allow_together_each_allows(first: set[int], second: tuple[int, int]) -> None:
    from impetus.runtime.worker.backends.coreml_shapes import Sizes

    least, most = second[0], second[1] if second[1] < 1 else max(second)
    some, others = sizes(*first), Sizes(least, most or -1)
    met = some.meet(others)
    both = {size for size in range(1, 10) if some.allows(size) and others.allows(size)}
    assert ({size for size in range(1, 10) if met.allows(size)} if met else set()) == both
