"""Small Core ML packages in every layout (see `tiny_coreml`), and what closes engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

MakePackage = Callable[[str], Path]


@pytest.fixture(scope="session")
def coreml_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in Hugging Face's layout, whose weights all the packages have."""
    from engine_tools import find_starter
    from tiny_folder import make_tiny_folder

    return make_tiny_folder(tmp_path_factory.mktemp("coreml-source") / "tiny-llama", find_starter())


@pytest.fixture(scope="session")
def package(coreml_source: Path, tmp_path_factory: pytest.TempPathFactory) -> MakePackage:
    """Makes the folder of a layout, by its name; each once."""
    if find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed")
    from tiny_coreml import LAYOUTS, make_package, make_parts

    root = tmp_path_factory.mktemp("coreml")
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            if name == "parts":
                made[name] = make_parts(root / name, coreml_source)
            else:
                bits = 4 if name == "int4" else 16
                made[name] = make_package(root / name, coreml_source, LAYOUTS[name], bits=bits)
        return made[name]

    return make


class Closable(Protocol):
    """An engine, or what it is compared with."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


@pytest.fixture
def make() -> Iterator[Callable[[T], T]]:
    """Closes what a test opened."""
    opened: list[Closable] = []

    def keep(one: T) -> T:
        opened.append(one)
        return one

    yield keep
    for one in opened:
        one.close()
