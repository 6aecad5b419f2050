import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("api", "hw", "runtime", "themes", "tui")


def folders_with_content() -> set[str]:
    found = {"impetus"}
    for top in CODE:
        for path in [ROOT / top, *(ROOT / top).rglob("*")]:
            if (
                path.is_dir()
                and path.name != "__pycache__"
                and any(child.suffix in {".py", ".toml"} for child in path.iterdir())
            ):
                found.add("impetus." + ".".join(path.relative_to(ROOT).parts))
        found.add(f"impetus.{top}")
    return found


def test_the_listed_packages_are_the_folders() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["packages"]
    assert set(listed) == folders_with_content()
    assert len(listed) == len(set(listed))


def test_themes_holds_no_python() -> None:
    assert not list((ROOT / "themes").rglob("*.py"))


def test_no_file_is_larger_than_a_megabyte() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [name for name in tracked if (ROOT / name).is_file() and (ROOT / name).stat().st_size > 1_000_000] == []


def test_no_extra_but_those_for_torch_brings_torch_or_cuda() -> None:
    """PyPI's torch for Linux comes with gigabytes of CUDA; so it may not slip in with another extra, or with the tests."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert uv is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def locked(*names: str) -> set[str]:
        asked = [part for name in names for part in ("--extra", name)]
        command = [uv, "export", "--quiet", "--frozen", "--no-emit-project", "--no-hashes", *asked]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
        return {line.partition("==")[0] for line in told.splitlines() if "==" in line and not line.startswith(" ")}

    def is_heavy(name: str) -> bool:
        return name in ("torch", "triton") or name.startswith(("nvidia-", "cuda-"))

    assert {name for name in locked(*(extras.keys() - {"torch", "all"})) if is_heavy(name)} == set()
    assert "torch" in {name for name in locked("torch") if is_heavy(name)}


ENGINES = {"llama_cpp", "mlx", "mlx_lm", "torch", "onnxruntime", "onnxruntime_genai", "coremltools", "transformers"}


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("import impetus.cli, impetus.__main__, impetus.runtime.opening", ENGINES | {"textual", "rich", "plotext"}),
        ("import impetus.tui.app, impetus.__main__, impetus.runtime.opening", ENGINES | {"huggingface_hub", "plotext"}),
        ("import impetus.runtime.worker.__main__", ENGINES | {"aiohttp", "textual", "psutil"}),
    ],
)
def test_a_process_loads_only_what_it_is_about(module: str, forbidden: set[str]) -> None:
    code = f"{module}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) & forbidden == set()
