"""Knows every model that can be named in a request, and what its bytes say of it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import FormatError, UnknownModel
from ..formats.adapter import AdapterHeader, read_adapter
from ..formats.coreml import PACKAGE_SUFFIXES
from ..formats.detect import detect, is_gguf
from ..formats.gguf import SHARD_NAME
from ..formats.header import Format, Header
from ..formats.onnx_variants import SUFFIX, quantization_of, read_variant
from ..formats.pytorch import SUFFIXES
from .adapter import AdapterFile
from .header_cache import HeaderCache, Reading
from .model import Model, StoreName
from .projectors import Projectors
from .quantization import find_quantization, same_quantization
from .stores import Find, Store
from .variants import base_names, gather_variants

log = logging.getLogger(__name__)

_BUILTIN_CONTEXT = 131_072
ECHO = Model(
    id="echo", path=Path("echo"), store="builtin", header=Header(format="echo", size_bytes=0, context_length=_BUILTIN_CONTEXT)
)
"""The engine that repeats, and needs no model."""
SCRIPTED = Model(
    id="scripted",
    path=Path("scripted"),
    store="builtin",
    header=Header(
        format="echo", architecture="scripted", size_bytes=0, context_length=_BUILTIN_CONTEXT, has_chat_template=True
    ),
)
"""The engine that follows a script, and needs no model."""

_NAMELESS = re.compile(r"(ggml-)?model(?=$|[-._])", re.IGNORECASE)
"""Files called after no model: "ggml-model-q4_0.gguf"."""


@dataclass(frozen=True, slots=True)
class _Named:
    find: Find
    store: StoreName
    name: str

    def names(self) -> Iterator[str]:
        """The ids it may have, the shortest first."""
        long = f"{self.find.owner}/{self.name}" if self.find.owner else self.name
        yield from (self.name, long, f"{long}@{self.store}", f"{long}@{self.find.path.parent}")


@dataclass(frozen=True, slots=True)
class _Candidate(_Named):
    header: Header
    problem: str | None


@dataclass(frozen=True, slots=True)
class _AdapterCandidate(_Named):
    header: AdapterHeader


class Registry:
    """The models of all stores, by id.

    `scan` blocks and belongs into a thread; the rest only looks at what it found.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        builtin: Sequence[Model] = (),
        explain_problem: Callable[[Header], str | None] = lambda _: None,
        headers: HeaderCache | None = None,
        rank: Callable[[Header], int] = lambda _: 0,
    ) -> None:
        """Puts it together; nothing is looked at yet.

        Args:
            stores: where models lie.
            builtin: models that lie nowhere.
            explain_problem: says why a model cannot be served here; None where it can.
            rank: how well a format is served here, the lowest best; of copies of one model that one comes first.
            headers: remembers what was read from one start to the next.
        """
        self._stores = tuple(stores)
        self._builtin = tuple(builtin)
        self._explain_problem = explain_problem
        self._headers = headers
        self._rank = rank
        self._readings: dict[Path, Reading] | None = None
        """What the last scan read; None before the first."""
        self._ids: dict[Path, str] = {}
        self._models: dict[str, Model] = {}
        self._projectors = Projectors()
        self._adapters: tuple[AdapterFile, ...] = ()
        self._adapter_names: dict[Path, str] = {}
        self._adapter_numbers: dict[Path, int] = {}
        self.headers_read = 0
        """How many models had to be opened so far; those that did not change are not opened again."""

    @property
    def models(self) -> tuple[Model, ...]:
        """What the last scan found, sorted by id, but the copies of one model together."""
        return tuple(self._models.values())

    @property
    def adapters(self) -> tuple[AdapterFile, ...]:
        """The LoRA adapters that the last scan found, by number."""
        return self._adapters

    def scan(self) -> tuple[Model, ...]:
        """Looks through the stores and reads the headers of what is new or changed."""
        candidates, adapters = self._candidates()
        self._adapters = self._number(adapters)
        ids = _choose_ids(candidates, self._ids)
        models = [
            Model(
                ids[candidate.find.path],
                candidate.find.path,
                candidate.store,
                candidate.header,
                candidate.problem,
                self._projectors.choose(candidate.find.projectors, candidate.header),
                f"{candidate.find.owner}/{candidate.find.repo}" if candidate.find.owner else None,
            )
            for candidate in candidates
        ]
        models += self._builtin
        self._ids = ids
        self._models = {model.id: model for model in gather_variants(models, lambda model: self._rank(model.header))}
        return self.models

    def resolve(self, name: str) -> Model:
        """Finds a model by its id, else without regard to case, else the best copy of the model that is called so, also with a
        precision or a format behind it ("name:q4"), else by a beginning that only one id has.

        Raises:
            UnknownModel: there is none, or several begin so.
        """
        models = self._models
        if name in models:
            return models[name]
        folded = name.casefold()
        same = [model for id_, model in models.items() if id_.casefold() == folded]
        if len(same) == 1:
            return same[0]
        copies = [model for model in models.values() if folded in base_names(model.id)]
        if not copies and folded.count(":") == 1:
            copies = _wished(folded, models.values())
        if copies and len({model.variant_of or model.id for model in copies}) == 1:
            # They stand with the best one first.
            return copies[0]
        starting = [model for id_, model in models.items() if folded and id_.casefold().startswith(folded)]
        if len(starting) == 1:
            return starting[0]
        raise UnknownModel(name, tuple(models))

    def _number(self, candidates: Sequence[_AdapterCandidate]) -> tuple[AdapterFile, ...]:
        """Gives adapters their names, and new ones the next number: clients know them by either."""
        self._adapter_names = names = _choose_ids(candidates, self._adapter_names)
        numbers = self._adapter_numbers
        for path in sorted(names.keys() - numbers.keys()):
            numbers[path] = len(numbers)
        files = [
            AdapterFile(numbers[path], names[path], path, header.architecture, header.size_bytes, header.layout)
            for candidate in candidates
            for path, header in ((candidate.find.path, candidate.header),)
        ]
        return tuple(sorted(files, key=lambda file: file.number))

    def _candidates(self) -> tuple[list[_Candidate], list[_AdapterCandidate]]:
        candidates: list[_Candidate] = []
        adapters: list[_AdapterCandidate] = []
        if self._readings is None:
            self._readings = self._headers.load() if self._headers is not None else {}
        readings: dict[Path, Reading] = {}
        seen: set[object] = set()
        for store in self._stores:
            for find in store.find():
                # The same file by two ways, or the same download in two stores, is one model.
                copy = (find.owner, find.repo, find.place) if find.owner else None
                real = os.path.realpath(find.path)
                if real in seen or find.path in readings:
                    continue
                reading = self._read(find)
                if reading is None:
                    continue
                readings[find.path] = reading
                header = reading.header
                if reading.adapter is not None:
                    seen.add(real)
                    adapters.append(_AdapterCandidate(find, store.name, _name(find), reading.adapter))
                if header is None or (find.growing and reading.problem is not None):
                    continue
                if copy is not None and (*copy, header.size_bytes) in seen:
                    continue
                seen |= {real, *([(*copy, header.size_bytes)] if copy is not None else [])}
                problem = reading.problem or self._explain_problem(header)
                candidates.append(_Candidate(find, store.name, _name(find), header, problem))
        self._readings = readings
        if self._headers is not None:
            self._headers.save(readings)
        return candidates, adapters

    def _read(self, find: Find) -> Reading | None:
        """Reads a header, or remembers it; None where the files went away meanwhile."""
        try:
            fingerprint = tuple(_stamp(path) for path in find.files)
        except OSError:
            return None
        known = self._readings.get(find.path) if self._readings is not None else None
        if known is not None and known.fingerprint == fingerprint:
            return known
        self.headers_read += 1
        try:
            header = detect(find.path)
            is_companion = header is None and (find.path.is_dir() or is_gguf(find.path))
            return Reading(fingerprint, header, None, read_adapter(find.path) if is_companion else None)
        except FormatError as error:
            log.warning("%s", error.message)
            size = sum(size for _, size, _ in fingerprint)
            header = Header(format=_guess_format(find), size_bytes=size)
            return Reading(fingerprint, replace(header, quantization=find_quantization(find.path.name)), error.message)


def _wished(name: str, models: Iterable[Model]) -> list[Model]:
    """Finds copies of a model in the precision or the format that stands behind its name."""
    base, _, wish = name.partition(":")
    return [
        model
        for model in models
        if base in base_names(model.id) and (same_quantization(model.header.quantization, wish) or model.header.format == wish)
    ]


def _guess_format(find: Find) -> Format:
    """What a damaged model was meant to be."""
    if find.path.is_file():
        return "onnx" if find.path.suffix == SUFFIX else "gguf"
    if any(file.parent.suffix in PACKAGE_SUFFIXES for file in find.files):
        return "coreml"
    suffixes = {file.suffix for file in find.files}
    return "safetensors" if ".safetensors" in suffixes else "pytorch" if suffixes & SUFFIXES else "onnx"


def _stamp(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _name(find: Find) -> str:
    """Names a model after its file or folder, or after its repository where that says nothing."""
    path = find.path
    if path.is_dir():
        # A cached snapshot is named after a commit.
        name = find.repo if find.repo and path.parent.name == "snapshots" else path.name
        return name.removesuffix(".mlpackage").removesuffix(".mlmodelc")
    if find.folder is not None:
        return _name_graph(find, find.folder)
    shard = SHARD_NAME.fullmatch(path.name)
    stem = shard["stem"] if shard else re.sub(r"\.gguf$", "", path.name, flags=re.IGNORECASE)
    if find.repo and (nameless := _NAMELESS.match(stem)):
        stem = re.sub(r"-gguf$", "", find.repo, flags=re.IGNORECASE) + stem[nameless.end() :]
    # Some publishers write "Name.Q4_K_M.gguf", most "Name-Q4_K_M.gguf".
    head, dot, tail = stem.rpartition(".")
    return f"{head}-{tail}" if dot and find_quantization(tail) == tail.upper() else stem


def _name_graph(find: Find, folder: Path) -> str:
    """Names one of a folder's graphs after the folder and its precision."""
    name = find.repo if find.repo and folder.parent.name == "snapshots" else folder.name
    if "onnx" not in name.casefold() and any(file.suffix in (".safetensors", ".bin") for file in folder.iterdir()):
        # The same folder holds the model in another format too, which has its name.
        name = f"{name}-onnx"
    variant = read_variant(find.path.stem)[1]
    said = {variant, (quantization_of(variant) or variant).casefold()}
    return name if not variant or re.split(r"[-_.]", name.casefold())[-1] in said else f"{name}-{variant}"


def _choose_ids(candidates: Sequence[_Named], before: dict[Path, str]) -> dict[Path, str]:
    """Gives every model an id of its own: its name where only it has it, else with its owner, its store, its folder.

    A model keeps the id it had: clients and loaded engines know it by that.
    """
    ids = {candidate.find.path: before[candidate.find.path] for candidate in candidates if candidate.find.path in before}
    taken = {ECHO.id, SCRIPTED.id, *(id_.casefold() for id_ in ids.values())}
    waiting = [candidate for candidate in candidates if candidate.find.path not in ids]
    for level in range(4):
        wanted = [(candidate, list(candidate.names())[level]) for candidate in waiting]
        counts: dict[str, int] = {}
        for _, name in wanted:
            counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
        for candidate, name in wanted:
            if counts[name.casefold()] == 1 and name.casefold() not in taken:
                ids[candidate.find.path] = name
        waiting = [candidate for candidate in waiting if candidate.find.path not in ids]
        taken |= {id_.casefold() for id_ in ids.values()}
    for candidate in waiting:
        ids[candidate.find.path] = str(candidate.find.path)
    return ids
