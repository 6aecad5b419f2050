"""Which architectures the installed engines know, read off their files: to import them would take seconds."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..formats.header import Ability

_TORCH_TABLES: dict[Ability, str] = {
    "text": "\nMODEL_FOR_CAUSAL_LM_MAPPING_NAMES = ",
    "embedding": "\nMODEL_MAPPING_NAMES = ",
    "rerank": "\nMODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES = ",
}
_TORCH_ENTRY = re.compile(r'\("([^"]+)", "')
_MLX_STATES = re.compile(r"self\.(?:model|language_model)(?:\.model)?\(")
"""How mlx-lm's models call what they have within."""
_SHARED_SUFFIXES = (".so", ".dylib", ".dll")


def mlx_knows(architecture: str) -> bool:
    """Whether mlx-lm has a model of this type."""
    return _mlx_code(architecture) is not None


@cache
def mlx_gives_states(architecture: str) -> bool:
    """Whether mlx-lm's model of this type has an inner half that gives states, apart from what scores tokens."""
    code = _mlx_code(architecture)
    return code is not None and _MLX_STATES.search(code.read_text(encoding="utf-8")) is not None


def torch_knows(architecture: str, ability: Ability) -> bool:
    """Whether transformers has a model of this type for this; code that comes with a model is never run."""
    return architecture in _torch_names(ability)


@cache
def llama_knows(architecture: str) -> bool:
    """Whether llama.cpp has this architecture: its library holds the name as a string of its own."""
    package = _folder("llama_cpp")
    libraries = [
        path for path in (package / "lib").glob("*llama*") if any(suffix in path.name for suffix in _SHARED_SUFFIXES)
    ] if package is not None else []  # fmt: skip
    if not libraries:
        # Where it keeps its library elsewhere, loading tells.
        return True
    return architecture.encode() + b"\0" in max(libraries, key=lambda path: path.stat().st_size).read_bytes()


def nearest(architecture: str) -> str | None:
    """Names the known architecture whose name is most alike, and who knows it; None where none is alike."""
    mlx, torch = _mlx_names(), _torch_names("text")
    found = get_close_matches(architecture, sorted(mlx | torch), n=1, cutoff=0.6)
    if not found:
        return None
    holders = [title for title, names in (("MLX", mlx), ("torch", torch)) if found[0] in names]
    return f"'{found[0]}' ({' and '.join(holders)})"


@cache
def _torch_names(ability: Ability) -> frozenset[str]:
    """The types that transformers' AutoModelForCausalLM and its like find a class for."""
    package = _folder("transformers")
    path = package / "models" / "auto" / "modeling_auto.py" if package is not None else None
    if path is None or not path.is_file():
        return frozenset()
    table = path.read_text(encoding="utf-8").partition(_TORCH_TABLES[ability])[2].partition("\n)\n")[0]
    return frozenset(_TORCH_ENTRY.findall(table))


@cache
def _mlx_code(architecture: str) -> Path | None:
    """The file with mlx-lm's model of a type; None where it has none."""
    package = _folder("mlx_lm")
    if package is None:
        return None
    code = package / "models" / f"{architecture}.py"
    if not code.is_file():
        # Some types share another one's code; mlx-lm lists them in one table.
        table = (package / "utils.py").read_text(encoding="utf-8")
        shared = re.search(rf'"{re.escape(architecture)}": "([^"]+)"', table)
        code = package / "models" / f"{shared[1] if shared else architecture}.py"
    return code if code.is_file() else None


@cache
def _mlx_names() -> frozenset[str]:
    package = _folder("mlx_lm")
    return frozenset() if package is None else frozenset(path.stem for path in (package / "models").glob("[!_]*.py"))


@cache
def _folder(package: str) -> Path | None:
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
