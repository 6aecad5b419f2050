"""Damaged and hostile files: refused with a message, or harmless; what they hold is never run."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from sequence_play import Player

from impetus.runtime.errors import FormatError
from impetus.runtime.formats.checkpoint import read_checkpoint
from impetus.runtime.worker.backends.backend import LoadError

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

FIXTURES = Path(__file__).parents[3] / "fixtures"


def test_cut_and_changed_files_are_refused_or_harmless(layout: tuple[str, Path], tmp_path: Path) -> None:
    engine, folder = layout
    command = [sys.executable, "-W", "ignore", str(FIXTURES / "damage_files.py"), engine, str(folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    # Libraries print on their own.
    ends = Counter(line.removeprefix("end: ") for line in done.stdout.splitlines() if line.startswith("end: "))
    # Native code may end the process, which the server outlives; none of these files has made it do so.
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(ends) <= {"refused", "loaded"}
    assert ends["refused"] >= 40, ends


class Evil:
    """What a pickle would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.mark.parametrize("shape", ["zip", "bare"])
@pytest.mark.parametrize("engine", ["torch", "mlx"])
def test_a_checkpoint_with_a_program_in_it_is_refused_and_never_run(
    engine: str, shape: str, tiny: Path, tmp_path: Path
) -> None:
    if find_spec({"torch": "torch", "mlx": "mlx_lm"}[engine]) is None:
        pytest.skip(f"{engine} is not installed")
    folder, marker = tmp_path / "evil", tmp_path / "was-run"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    content = pickle.dumps({"model.norm.weight": Evil(marker)}, protocol=2)
    target = folder / "pytorch_model.bin"
    if shape == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
    else:
        target.write_bytes(content)
    with pytest.raises(LoadError):
        Player(engine, folder, converted_dir=str(tmp_path / "converted"))
    with pytest.raises(FormatError):
        read_checkpoint(target)
    assert not marker.exists()


def test_a_graph_that_names_data_elsewhere_is_refused(layouts: dict[str, Path], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    source = layouts["onnx-in-place"]
    for one in source.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    (tmp_path / "secret").write_bytes((source / "model.onnx_data").read_bytes())
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    onnx.save(graph, folder / "model.onnx")
    with pytest.raises(LoadError):
        Player("onnx", folder)


def test_a_config_that_names_a_graph_elsewhere_is_refused(layouts: dict[str, Path], tmp_path: Path) -> None:
    if "onnx-in-place" not in layouts:
        pytest.skip("onnx is not installed")
    folder = tmp_path / "named"
    folder.mkdir()
    for one in layouts["onnx-in-place"].iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    text = (folder / "genai_config.json").read_text().replace('"model.onnx"', '"../../model.onnx"')
    (folder / "genai_config.json").write_text(text)
    with pytest.raises(LoadError, match="outside"):
        Player("onnx", folder)
