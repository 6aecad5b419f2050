"""Core ML: what a package's description says, and its feeding, masks and states by an interpreter where one is at hand.

Core ML computes on macOS alone. Beside the project there may be an interpreter of its packages in numpy; with it, the code that
feeds them runs here as it does there.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_models import build
from numpy_llama import open_numpy_llama
from sequence_play import Player, ask, kept_in

from impetus.runtime.worker.backends.backend import LoadError

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(400),
]

INTERPRETER = Path(__file__).resolve().parents[4].parent / "shared" / "formats"
LONG = "The capital of France is Paris and so on. " * 3
LAYOUTS = ("tiny-coreml", "tiny-coreml-single", "tiny-coreml-stateless")


def description(*inputs: tuple[str, tuple[int, ...], Any], outputs: tuple[str, ...] = ("logits",)) -> Any:
    """Makes a description: names, shapes, and what their last but one or last dimension may be."""
    from coremltools.proto import Model_pb2

    made = Model_pb2.ModelDescription()
    for name, shape, flexible in inputs:
        array = made.input.add(name=name).type.multiArrayType
        array.shape.extend(shape)
        if isinstance(flexible, list):
            for one in flexible:
                array.enumeratedShapes.shapes.add().shape.extend(one)
        elif flexible is not None:
            for least, most in flexible:
                array.shapeRange.sizeRanges.add(lowerBound=least, upperBound=most)
    for name in outputs:
        made.output.add(name=name)
    state = made.state.add(name="keyCache").type.stateType.arrayType
    state.shape.extend((2, 1, 2, 512, 16))
    return made


def test_ranges_and_roles_are_read_whatever_they_are_called() -> None:
    from impetus.runtime.worker.backends.coreml_shapes import read_inputs

    ranged = ("inputIds", (1, 1), ((1, 1), (1, 512)))
    mask = ("causalMask", (1, 1, 1, 1), ((1, 1), (1, 1), (1, 512), (1, 512)))
    inputs = read_inputs(description(ranged, mask))
    assert (inputs.ids, inputs.mask, inputs.positions, inputs.context_length) == ("inputIds", "causalMask", None, 512)
    assert [inputs.tokens.best(count) for count in (1, 40, 4000)] == [1, 40, 512]
    single = read_inputs(
        description(("input_ids", (1, 1), None), ("causal_mask", (1, 1, 1, 512), None), ("position_ids", (1,), None))
    )
    assert (single.tokens.best(40), single.positions) == (1, "position_ids")
    assert single.places is not None
    assert single.places.best(7) == 512


def test_only_named_shapes_are_fed() -> None:
    from impetus.runtime.worker.backends.coreml_shapes import read_inputs

    inputs = read_inputs(description(("input_ids", (1, 1), [(1, 1), (1, 64), (1, 16)])))
    assert inputs.tokens.named == (1, 16, 64)
    assert [inputs.tokens.best(count) for count in (1, 15, 16, 63, 200)] == [1, 1, 16, 16, 64]


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ((("hidden_states", (1, 1, 64), None),), ("output_hidden_states",), "several parts"),
        ((("input_ids", (1, 1), None),), ("hidden_states",), "no decoder"),
    ],
)
def test_parts_of_models_are_refused_in_words(inputs: Any, outputs: tuple[str, ...], words: str) -> None:
    from impetus.runtime.worker.backends.coreml_shapes import read_inputs

    with pytest.raises(LoadError, match=words):
        read_inputs(description(*inputs, outputs=outputs))


def test_a_folder_without_a_package_is_refused(tmp_path: Path) -> None:
    from impetus.runtime.worker.backends.coreml import find_package

    with pytest.raises(LoadError, match=r"no \.mlpackage"):
        find_package(tmp_path)
    for name in ("a.mlpackage", "b.mlpackage"):
        (tmp_path / name).mkdir()
    with pytest.raises(LoadError, match="several parts"):
        find_package(tmp_path)


class CoremlPlayer(Player):
    """Plays on a package by the interpreter."""

    def __init__(self, path: Path, **options: Any) -> None:
        from impetus.runtime.frames import LoadOptions
        from impetus.runtime.worker.backends.coreml import CoremlRunner
        from impetus.runtime.worker.sequences.sequence_backend import SequenceBackend

        sys.path.insert(0, str(INTERPRETER))
        try:
            import milrun  # type: ignore[import-not-found]
        finally:
            sys.path.remove(str(INTERPRETER))
        milrun.OPS.setdefault("clip", lambda given: np.clip(given["x"], given["alpha"], given["beta"]))

        class State(dict):
            def read_state(self, name: str) -> Any:
                return self[name]

            def write_state(self, name: str, value: Any) -> None:
                self[name] = np.array(value, np.float32)

        class Model(milrun.NumpyMLModel):
            def make_state(self) -> Any:
                return State(super().make_state())

            def predict(self, data: dict[str, Any], state: Any = None) -> Any:
                for one in self.get_spec().description.input:
                    check_shape(one, np.shape(data[one.name]))
                return super().predict(data, state)

        self.backend = SequenceBackend(CoremlRunner(lambda package, units: Model(str(package))))
        self.loaded = self.backend.load(str(path), LoadOptions(threads=1, **options), lambda _: None)
        self.number = 0


def check_shape(one: Any, shape: tuple[int, ...]) -> None:
    """Refuses what Core ML would refuse: a shape that the description does not allow."""
    array = one.type.multiArrayType
    allowed = [(bound.lowerBound, bound.upperBound) for bound in array.shapeRange.sizeRanges] or [
        (size, size) for size in array.shape
    ]
    assert len(shape) == len(allowed), one.name
    assert all(least <= size and (most < 0 or size <= most) for size, (least, most) in zip(shape, allowed, strict=True)), (
        one.name
    )


@pytest.fixture(params=LAYOUTS)
def player(request: pytest.FixtureRequest) -> Generator[CoremlPlayer]:
    if not (INTERPRETER / "milrun.py").is_file():
        pytest.skip("there is no interpreter of Core ML packages here")
    if find_spec("torch") is None:
        pytest.skip("torch, which packages are traced by, is not installed")
    folders = build(request.param)
    player = CoremlPlayer(folders[request.param], prefix=kept_in(None))
    yield player
    player.close()


def expected(player: CoremlPlayer, prompt: str, count: int) -> bytes:
    folder = build("tiny-safetensors")["tiny-safetensors"]
    written = open_numpy_llama(folder).greedy(list(player.backend.admit(ask(prompt)).token_ids), count)
    return b"".join(player.backend._vocabulary.piece(token) for token in written)


def test_tokens_are_those_of_plain_arithmetic_alone_and_together(player: CoremlPlayer) -> None:
    prompts = ["Hello there", LONG, LONG + "More", "Short"]
    for prompt in prompts:
        assert player.play([ask(prompt, tokens=6)])[0].text == expected(player, prompt, 6)
    player.backend.forget()
    together = player.play([ask(prompt, tokens=6) for prompt in prompts], late=2)
    assert [one.text for one in together] == [expected(player, prompt, 6) for prompt in prompts]


def test_what_was_computed_is_shared_and_put_back(player: CoremlPlayer) -> None:
    text = LONG * 3
    player.play([ask(text, tokens=2)])
    player.settle()
    (warm,) = player.play([ask(text + "End", tokens=4)])
    assert warm.begun is not None
    assert warm.begun.report.ram_tokens > 60
    player.settle()
    player.backend.forget()
    (back,) = player.play([ask(text + "End", tokens=4)])
    assert back.begun is not None
    assert back.begun.report.ram_tokens > 32
    assert back.text == warm.text == expected(player, text + "End", 4)
