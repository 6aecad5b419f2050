"""The one matrix of a graph that is turned for a product, told from all that has to be computed when a graph is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from impetus.runtime.formats import onnx_tied
from impetus.runtime.formats.onnx_tied import find_tied

pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper
from tied_onnx import LOOK_UP, MATRIX, ROWS, SCORE, TIED, TURN, WIDTH, save_graph

TO_LOOK_UP = (
    helper.make_node("Transpose", [MATRIX], ["turned"], perm=[1, 0]),
    helper.make_node("Gather", ["turned", "ids"], ["scores"]),
)
"""As onnxruntime-genai has it: the matrix lies there as it is scored with, and is turned for the look-up."""
WIDENED = (LOOK_UP, TURN, SCORE, helper.make_node("Cast", ["halves"], ["wide"], to=TensorProto.FLOAT))
HELD = helper.make_node("Constant", [], ["held"], value=numpy_helper.from_array(np.ones((WIDTH, ROWS), "f2")))
IN_A_BRANCH = helper.make_node(
    "If",
    ["yes"],
    ["chosen"],
    then_branch=helper.make_graph(
        [helper.make_node("Neg", [MATRIX], ["less"])], "then", [], [helper.make_tensor_value_info("less", 1, None)]
    ),
    else_branch=helper.make_graph(
        [helper.make_node("Abs", [MATRIX], ["more"])], "else", [], [helper.make_tensor_value_info("more", 1, None)]
    ),
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_tied, "LEAST_BYTES", ROWS * WIDTH * 4)


def test_a_matrix_that_is_looked_up_in_and_scored_with_is_found(tmp_path: Path) -> None:
    given = np.arange(ROWS * WIDTH, dtype="f4").reshape(ROWS, WIDTH)
    found = find_tied(save_graph(tmp_path / "model.onnx", *TIED, **{MATRIX: given}))
    assert found is not None
    assert (found.name, found.shape, found.size_bytes) == (MATRIX, (ROWS, WIDTH), ROWS * WIDTH * 4)
    assert found.data == tmp_path / "model.onnx_data"
    assert (np.fromfile(found.data, "f4", ROWS * WIDTH, offset=found.offset).reshape(ROWS, WIDTH) == given).all()


@pytest.mark.parametrize(
    ("nodes", "more"),
    [
        (TO_LOOK_UP, {}),
        ((LOOK_UP, TURN, SCORE, helper.make_node("Relu", ["turned"], ["again"])), {}),
        ((LOOK_UP, TURN, helper.make_node("MatMul", ["turned", "states"], ["scores"])), {}),
        ((LOOK_UP, helper.make_node("Transpose", [MATRIX], ["turned"], perm=[0, 1]), SCORE), {}),
        ((*TIED, helper.make_node("Neg", [MATRIX], ["less"])), {}),
        ((*TIED, IN_A_BRANCH), {"yes": np.array(True)}),
        (WIDENED, {"halves": np.ones((ROWS, WIDTH), "f2")}),
        ((*TIED, helper.make_node("DequantizeLinear", ["bytes", "scale"], ["wide"])),
         {"bytes": np.ones((ROWS // 2, WIDTH), "i1"), "scale": np.array(0.5, "f4")}),
        ((*TIED, helper.make_node("MatMul", ["states", "halves"], ["more"])), {"halves": np.ones((WIDTH, ROWS), "f2")}),
        ((*TIED, HELD), {}),
        ((LOOK_UP, helper.make_node("Neg", ["states"], ["scores"])), {}),
    ],
)  # fmt: skip
def test_nothing_is_found_where_something_large_has_to_be_computed_beforehand(
    tmp_path: Path, nodes: tuple[object, ...], more: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]
) -> None:
    assert find_tied(save_graph(tmp_path / "model.onnx", *nodes, **more)) is None


def test_a_turned_matrix_that_the_graph_gives_is_none(tmp_path: Path) -> None:
    assert find_tied(save_graph(tmp_path / "model.onnx", *TIED, outputs=("scores", "turned"))) is None


def test_a_small_constant_may_be_computed_beforehand(tmp_path: Path) -> None:
    nodes = (*TIED, helper.make_node("Cast", ["halves"], ["wide"], to=TensorProto.FLOAT))
    assert find_tied(save_graph(tmp_path / "model.onnx", *nodes, halves=np.ones((ROWS // 4, WIDTH), "f2"))) is not None


def test_only_what_lies_beside_the_graph_is_found(tmp_path: Path) -> None:
    assert find_tied(save_graph(tmp_path / "model.onnx", *TIED, beside=False)) is None


def test_data_that_nothing_else_is_in_is_not_looked_into(tmp_path: Path) -> None:
    """Whether it may be read at all is what ONNX Runtime decides."""
    assert find_tied(save_graph(tmp_path / "model.onnx", *TIED, other=np.zeros(2, "f4"))) is None


def test_damaged_graphs_have_none(tmp_path: Path) -> None:
    whole = save_graph(tmp_path / "model.onnx", *TIED).read_bytes()
    damaged = tmp_path / "damaged.onnx"
    for content in (b"", b"\xff" * 40, whole[: len(whole) // 2], whole[:-1], whole + b"\x07"):
        damaged.write_bytes(content)
        assert find_tied(damaged) is None
    assert find_tied(tmp_path / "missing.onnx") is None
