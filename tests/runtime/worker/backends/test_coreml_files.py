"""Core ML models that are damaged, half-downloaded, incomplete, or nothing that can be served: refused, and told why."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.backends.backend import LoadError

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(200),
]

MakePackage = Callable[[str], Path]
INSIDE = Path("Data") / "com.apple.CoreML"
WEIGHTS = INSIDE / "weights" / "weight.bin"
DAMAGES = 50


def refuse(path: Path, words: str) -> None:
    """Holds that a model is refused with these words before anything is computed."""
    from coreml_play import Opener

    from impetus.runtime.worker.backends.coreml import CoremlRunner

    opener = Opener()
    with pytest.raises(LoadError, match=words):
        CoremlRunner(opener).open(path, LoadOptions(), lambda _: None)
    assert opener.opened == []


@pytest.fixture
def copy(package: MakePackage, tmp_path: Path) -> Path:
    """A folder that may be damaged."""
    return Path(shutil.copytree(package("range"), tmp_path / "copy"))


def inner(folder: Path) -> Path:
    return next(folder.glob("*.mlpackage"))


def test_weights_that_are_cut_short_are_told_with_their_place(copy: Path) -> None:
    weights = inner(copy) / WEIGHTS
    size = weights.stat().st_size
    for keep in (size - 1, size // 2, 100):
        with weights.open("r+b") as file:
            file.truncate(keep)
        refuse(copy, rf"'weight\.bin' of 'StatefulModel\.mlpackage' is cut short: it has {keep:,} of \d[\d,]* bytes")
    weights.unlink()
    refuse(copy, r"'weight\.bin' .* missing")


def test_what_a_manifest_lists_has_to_be_there(copy: Path) -> None:
    shutil.rmtree(inner(copy) / INSIDE / "weights")
    refuse(copy, "weights' of .* is missing: it is not wholly downloaded")
    (inner(copy) / "Manifest.json").write_text('{"itemInfoEntries": {')
    refuse(copy, r"Manifest\.json' cannot be read")
    (inner(copy) / "Manifest.json").unlink()
    refuse(copy, r"no Manifest\.json: it is not wholly downloaded")


def test_a_specification_cut_anywhere_is_refused(copy: Path) -> None:
    file = inner(copy) / INSIDE / "model.mlmodel"
    content = file.read_bytes()
    chance = random.Random(5)
    for keep in [0, *(chance.randrange(len(content)) for _ in range(DAMAGES))]:
        file.write_bytes(content[:keep])
        refuse(copy, ".")


def test_a_specification_with_other_bytes_is_refused_or_harmless(copy: Path) -> None:
    from impetus.runtime.worker.backends.coreml_layout import read_layout

    file = inner(copy) / INSIDE / "model.mlmodel"
    content = file.read_bytes()
    chance = random.Random(6)
    refused = 0
    for _ in range(DAMAGES):
        at = chance.randrange(min(len(content), 2000))
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        try:
            read_layout(copy)
        except LoadError:
            refused += 1
    assert refused > 10


def test_weights_outside_of_a_package_are_never_read(copy: Path, tmp_path: Path) -> None:
    shutil.copyfile(inner(copy) / WEIGHTS, tmp_path / "weight.bin")
    change(copy, lambda spec: rename_weights(spec, "@model_path/../../../../weight.bin"))
    refuse(copy, "outside of itself")


def test_a_weight_that_begins_elsewhere_is_refused(copy: Path) -> None:
    weights = inner(copy) / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[64:68] = b"\0\0\0\0"  # the mark of the first one
    weights.write_bytes(content)
    refuse(copy, "holds no weight at byte 64")


def change(folder: Path, what: Callable[[Any], None]) -> None:
    """Changes a package's specification."""
    from coremltools.models.utils import load_spec

    spec = load_spec(str(inner(folder)))
    what(spec)
    (inner(folder) / INSIDE / "model.mlmodel").write_bytes(spec.SerializeToString())


def rename_weights(spec: Any, name: str) -> None:
    for block in spec.mlProgram.functions["main"].block_specializations.values():
        for operation in block.operations:
            for value in operation.attributes.values():
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.fileName = name


def test_parts_have_to_be_whole(package: MakePackage, tmp_path: Path) -> None:
    def without(name: str) -> Path:
        folder = Path(shutil.copytree(package("parts"), tmp_path / name))
        shutil.rmtree(folder / f"{name}.mlpackage")
        return folder

    refuse(without("llama_FFN_PF_lut4_chunk_02of02"), "part 2 of 2 is missing")
    refuse(without("llama_FFN_PF_lut4_chunk_01of02"), "part 1 of 2 is missing")
    refuse(without("llama_lm_head_lut6"), "1 that take tokens, 2 with layers and 0 that give scores")
    alone = package("parts") / "llama_embeddings.mlpackage"
    refuse(alone, "but one part of a model")


def test_of_several_models_one_has_to_be_named(package: MakePackage, tmp_path: Path) -> None:
    from coreml_play import Opener

    from impetus.runtime.worker.backends.coreml import CoremlRunner

    folder = Path(shutil.copytree(package("range"), tmp_path / "two"))
    shutil.copytree(inner(package("named")), folder / "Other.mlpackage")
    refuse(folder, r"Name one of them: Other\.mlpackage, StatefulModel\.mlpackage")
    opened = CoremlRunner(Opener()).open(folder / "Other.mlpackage", LoadOptions(), lambda _: None)
    assert opened.folder == folder


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, r"neither a \.mlpackage nor a \.mlmodelc")
    (tmp_path / "a.mlmodelc").mkdir()
    refuse(tmp_path, r"no metadata\.json")
    (tmp_path / "a.mlmodelc" / "metadata.json").write_text("[]")
    refuse(tmp_path, r"metadata\.json' cannot be read")


def write_compiled(folder: Path, inputs: Sequence[Any], outputs: Sequence[str], states: Sequence[Any] = ()) -> Path:
    """Writes a compiled model that only describes itself."""

    def tell(name: str, shape: Sequence[int], **more: Any) -> dict[str, str]:
        return {"name": name, "shape": str(list(shape)), "dataType": "Float16"} | {key: str(one) for key, one in more.items()}

    told = {
        "inputSchema": [tell(*one[:2], **(one[2] if len(one) > 2 else {})) for one in inputs],
        "outputSchema": [tell(name, ()) for name in outputs],
        "stateSchema": [tell(*one) for one in states],
    }
    model = folder / "Some.mlmodelc"
    model.mkdir()
    (model / "metadata.json").write_text(json.dumps([told]))
    return model


IDS = ("input_ids", (1, 1))
MASK = ("causal_mask", (1, 1, 1, 64))
CACHE = ("keyCache", (2, 1, 2, 64, 16))


@pytest.mark.parametrize(
    ("inputs", "outputs", "states", "words"),
    [
        ([IDS, ("full_sequence_length", (1,))], ["logits"], [], "takes 'full_sequence_length', which is not known"),
        ([IDS, MASK], ["argmax_idx", "argmax_val"], [CACHE], "gives argmax_idx, argmax_val, and no scores of all tokens"),
        ([("image", (1, 3, 224, 224))], ["logits"], [], "'image', which is not known"),
        ([MASK], ["logits"], [CACHE], "takes causal_mask, and no tokens"),
        ([IDS], ["logits"], [CACHE], "nothing that says where in it new tokens go"),
        ([IDS, MASK], ["logits"], [("counter", (1,))], "holds no keys and values"),
        ([("input_ids", (1, 8)), MASK], ["logits"], [CACHE], "no common number of tokens"),
        ([IDS, MASK, ("slidingAttentionMask", (1, 1, 1, 64))], ["logits"], [CACHE], "nor config.json says how wide"),
        ([("input_ids", (1, 1), {"shapeRange": [[1, 1], [1, -1]]})], ["logits"], [], "how long its context is"),
    ],
)
def test_what_cannot_be_fed_is_told(inputs: Any, outputs: list[str], states: Any, words: str, tmp_path: Path) -> None:
    refuse(write_compiled(tmp_path, inputs, outputs, states), words)


def test_a_library_that_cannot_open_a_model_is_quoted(package: MakePackage) -> None:
    from coreml_play import Opener

    from impetus.runtime.worker.backends.coreml import CoremlRunner

    failing = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
    with pytest.raises(LoadError, match="cannot compute 'range': these units compute nothing"):
        CoremlRunner(Opener(failing=failing)).open(package("range"), LoadOptions(), lambda _: None)


def test_here_the_library_itself_says_that_it_computes_on_macos_alone(package: MakePackage) -> None:
    import sys

    from impetus.runtime.worker.backends.coreml import open_backend

    if sys.platform == "darwin":
        pytest.skip("Core ML computes here")
    with pytest.raises(LoadError, match="macOS"):
        open_backend().load(str(package("range")), LoadOptions(), lambda _: None)
