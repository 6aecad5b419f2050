"""Makes models of a repository's list of files: what belongs to which, and what is left where it is.

Pure functions over names and sizes; what a model is, its bytes say once it is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from ..formats.coreml import META, PACKAGE_SUFFIXES, choose_packages, find_parts, quantization_of_parts
from ..formats.folder import CARD, INDEX_SUFFIX, PIPELINE
from ..formats.gguf import SHARD_NAME
from ..formats.header import Format
from ..formats.onnx_variants import GENAI, find_data, find_variants, quantization_of
from ..formats.onnx_variants import SUFFIX as GRAPH_SUFFIX
from .offer import NO_FACTS, Facts, HubFile, RemoteFile, total_size
from .quantization import find_quantization

_NOT_MODELS = re.compile(r"(^|[-_./])(mmproj|imatrix)([-_.]|$)", re.IGNORECASE)
_BESIDE = re.compile(
    r"(?!adapter_)(?:[\w.-]*config[\w.-]*\.json|[\w.-]*token[\w.-]*\.(?:json|model)|vocab[\w.-]*\.(?:json|txt)|merges\.txt"
    r"|[\w.-]*template[\w.-]*\.(?:json|jinja)|modules\.json|tekken\.json|spiece\.model|[\w.-]*\.(?:bpe\.model|tiktoken|spm))",
    re.IGNORECASE | re.ASCII,
)
"""What an engine, a tokenizer or a template reads beside weights; code and what only training needs is not among it."""
_TEMPLATES = "additional_chat_templates"
_STAGE = re.compile(r"\d+_\w+", re.ASCII)
"""A folder of sentence-transformers: what follows the model."""
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.(?:safetensors|bin)", re.DOTALL)
_OTHER_WEIGHTS = re.compile(r"(?:consolidated|adapter_|training_args|optimizer|scheduler|rng_state)", re.IGNORECASE)
_FORMS = {"safetensors": ("model.safetensors", ".safetensors"), "pytorch": ("pytorch_model.bin", ".bin")}


def find_models(files: Sequence[RemoteFile], facts: Facts = NO_FACTS) -> tuple[HubFile, ...]:
    """Lists the models of a repository, each whole: sets with a missing part are none."""
    models = list(_find_gguf(files))
    if all(PurePosixPath(file.path).name != PIPELINE for file in files):
        # A pipeline that makes pictures has folders that look like language models.
        folders = _by_folder(files)
        packages = _packages(folders)
        for place in sorted({*folders, *packages}):
            if _package_around(place) is None:
                models += _find_in_folder(place, folders, facts)
                models += _find_packages(place, folders, packages.get(place, {}), facts)
    return tuple(models)


def explain_nothing(files: Sequence[RemoteFile]) -> str:
    """Says in words what a repository is that offers no model."""
    names = {PurePosixPath(file.path).name for file in files}
    if PIPELINE in names:
        return "is a pipeline that makes pictures, which is not served"
    if "adapter_config.json" in names:
        return "holds an adapter for a model, not a model"
    if any(re.fullmatch(r"consolidated\.\d\d\.pth", name) for name in names):
        return "is laid out for Meta's llama; pull it in the layout of Hugging Face transformers"
    if any(name.lower().endswith((".mlmodelc.zip", ".mlpackage.zip")) for name in names):
        return "holds its Core ML model as an archive; unpack it into the models folder"
    if any(_SHARD.fullmatch(name) or SHARD_NAME.fullmatch(name) for name in names):
        return "lacks a part of its weights"
    return "has no model in a format that is served: GGUF, SafeTensors, MLX, PyTorch, ONNX or Core ML"


def is_beside(name: str) -> bool:
    """Whether a file of this name is read beside weights, as tokenizers, templates and configs are."""
    return _BESIDE.fullmatch(name) is not None


def _find_gguf(files: Sequence[RemoteFile]) -> Iterator[HubFile]:
    sets: dict[str, list[RemoteFile]] = {}
    counts: dict[str, int] = {}
    for file in sorted(files, key=lambda file: file.path):
        if not file.path.lower().endswith(".gguf") or _NOT_MODELS.search(file.path):
            continue
        shard = SHARD_NAME.fullmatch(file.path)
        key = f"{shard['stem']}/{shard['count']}" if shard else file.path
        sets.setdefault(key, []).append(file)
        counts[key] = int(shard["count"]) if shard else 1
    for key, parts in sets.items():
        if len(parts) == counts[key]:
            name = parts[0].path
            yield HubFile(name, total_size(parts), find_quantization(name), tuple(parts))


def _find_in_folder(place: str, folders: dict[str, list[RemoteFile]], facts: Facts) -> Iterator[HubFile]:
    inside = folders.get(place, [])
    names = {_name(file): file for file in inside}
    gate = names.get("config.json")
    beside = _beside(place, folders)
    if gate is not None:
        for form in _FORMS:
            weights = _weights(form, names)
            if weights:
                index = [names[name] for name in (_FORMS[form][0] + INDEX_SUFFIX,) if name in names and len(weights) > 1]
                rest = [file for file in beside if file is not gate]
                kind, quantization = _tell_weights(form, place, facts)
                if kind == "mlx" and facts.ability == "embedding" and "modules.json" not in names:
                    # Where the stages are missing, the card alone says what the model is for.
                    rest += [names[CARD]] if CARD in names else []
                parts = (gate, *weights, *rest, *_stages(place, folders, _FORMS[form][1]), *index)
                yield _offer(kind, weights[0].path, parts, quantization, place, facts)
    graphs = _graphs(inside) if PurePosixPath(place).name != "onnx" else {}
    if not graphs:
        graphs = _graphs(folders.get(_join(place, "onnx"), []))
    if graphs and (gate is not None or GENAI in names):
        for path, variant in find_variants(list(graphs)).items():
            graph, data = graphs[path]
            quantization = quantization_of(variant) or _guess_quantization(place)
            parts = (graph, *beside, *_stages(place, folders, ".safetensors"), *data)
            yield _offer("onnx", graph.path, parts, quantization, place, facts)


def _find_packages(
    place: str, folders: dict[str, list[RemoteFile]], packages: dict[str, list[RemoteFile]], facts: Facts
) -> Iterator[HubFile]:
    """Finds Core ML models: each package, or all of a folder where a file says that they are parts of one."""
    names = {_name(file): file for file in folders.get(place, [])}
    # A tokenizer may lie one folder up.
    beside = _beside(place, folders) or (_beside(_parent(place), folders) if place else [])
    paths = [PurePosixPath(name) for name in packages]
    if together := find_parts(paths, names):
        # No part stands for the others, so that it has the name of the file that says so.
        meta = names[META]
        parts = (meta, *(file for path in sorted(together) for file in packages[str(path)]), *beside)
        quantization = _guess_quantization(place) or quantization_of_parts(together)
        yield _offer("coreml", meta.path, parts, quantization, place, facts)
        return
    for name, files in sorted((str(path), packages[str(path)]) for path in choose_packages(paths)):
        gates = ("Manifest.json", "coremldata.bin")
        gate = next((file for file in files if file.path in [f"{name}/{one}" for one in gates]), None)
        if gate is not None:
            parts = (gate, *(file for file in files if file is not gate), *beside)
            yield _offer("coreml", name, parts, _guess_quantization(name), place, facts)


def _offer(
    kind: Format, name: str, parts: tuple[RemoteFile, ...], quantization: str | None, place: str, facts: Facts
) -> HubFile:
    return HubFile(name, total_size(parts), quantization, parts, kind, facts.architecture, facts.ability, place)


def _tell_weights(form: str, place: str, facts: Facts) -> tuple[Format, str | None]:
    if form == "pytorch":
        return "pytorch", _guess_quantization(place) if place else None
    kind: Format = "mlx" if facts.library == "mlx" else "safetensors"
    return kind, _guess_quantization(place) if place else facts.quantization


def _guess_quantization(name: str) -> str | None:
    """Looks for a precision in a folder's or a file's name, as "cpu-int4-rtn-block-32" has it."""
    found = re.search(r"(?<![a-z0-9])(int[48]|[48][-_]?bits?)(?![a-z0-9])", name, re.IGNORECASE)
    if found is None:
        return find_quantization(PurePosixPath(name).stem)
    words = found[1].lower()
    return words.upper() if words.startswith("int") else f"{words[0]}-bit"


def _weights(form: str, names: dict[str, RemoteFile]) -> list[RemoteFile]:
    """Chooses a folder's weights in one form: whole sets of shards before single files, each weight once."""
    plain, suffix = _FORMS[form]
    index = plain + INDEX_SUFFIX in names
    stem = plain.removesuffix(suffix)
    shards = [name for name in names if (match := _SHARD.fullmatch(name)) and match["stem"] == stem and name.endswith(suffix)]
    if index or plain not in names:
        whole = _whole_set(shards)
        if whole:
            return [names[name] for name in whole]
    if plain in names:
        return [names[plain]]
    if shards or form != "safetensors":
        return []
    # MLX's first models have weights.safetensors; "model.fp16.safetensors" is another precision of a model that is there too.
    others = sorted(name for name in names if name.endswith(suffix) and not _OTHER_WEIGHTS.match(name))
    return [names[name] for name in others] if len({name.partition(".")[0] for name in others}) == 1 else []


def _whole_set(names: Sequence[str]) -> list[str]:
    matches = [match for name in sorted(names) if (match := _SHARD.fullmatch(name)) is not None]
    counts = {int(match["count"]) for match in matches}
    return [match[0] for match in matches] if counts == {len(matches)} else []


def _graphs(inside: Sequence[RemoteFile]) -> dict[PurePosixPath, tuple[RemoteFile, list[RemoteFile]]]:
    """Gives each graph of a folder, and the data that belongs to it."""
    names = {_name(file): file for file in inside}
    return {
        PurePosixPath(graph.path): (graph, [names[one] for one in find_data(name, names)])
        for name, graph in names.items()
        if name.endswith(GRAPH_SUFFIX)
    }


def _beside(place: str, folders: dict[str, list[RemoteFile]]) -> list[RemoteFile]:
    found = [file for file in folders.get(place, []) if is_beside(_name(file))]
    return found + [file for file in folders.get(_join(place, _TEMPLATES), []) if file.path.endswith(".jinja")]


def _stages(place: str, folders: dict[str, list[RemoteFile]], suffix: str) -> list[RemoteFile]:
    """What sentence-transformers puts behind a model: pooling and dense layers, their weights in one form."""
    found: list[RemoteFile] = []
    if all(_name(file) != "modules.json" for file in folders.get(place, [])):
        return found
    for folder, files in folders.items():
        if _STAGE.fullmatch(PurePosixPath(folder).name) and _parent(folder) == place:
            weights = [file for file in files if file.path.endswith((".safetensors", ".bin"))]
            alike = [file for file in weights if file.path.endswith(suffix)]
            found += [file for file in files if file.path.endswith(".json")] + (alike or weights)
    return found


def _by_folder(files: Sequence[RemoteFile]) -> dict[str, list[RemoteFile]]:
    folders: dict[str, list[RemoteFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        folders.setdefault(_parent(file.path), []).append(file)
    return folders


def _packages(folders: dict[str, list[RemoteFile]]) -> dict[str, dict[str, list[RemoteFile]]]:
    """Gives all files of each package, by the folder that the package lies in and by its path."""
    found: dict[str, dict[str, list[RemoteFile]]] = {}
    for folder, files in folders.items():
        if (package := _package_around(folder)) is not None:
            found.setdefault(_parent(package), {}).setdefault(package, []).extend(files)
    return found


def _package_around(folder: str) -> str | None:
    """Gives the package that a folder is, or lies in; None where it does not."""
    path = PurePosixPath(folder)
    return next((str(one) for one in (*reversed(path.parents), path) if one.name.endswith(PACKAGE_SUFFIXES)), None)


def _name(file: RemoteFile) -> str:
    return PurePosixPath(file.path).name


def _parent(path: str) -> str:
    """Gives the folder that a path lies in; the repository's own is ""."""
    return path.rpartition("/")[0]


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name
