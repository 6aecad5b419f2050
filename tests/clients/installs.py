"""Which clients are tried, in which versions, and how they get onto this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NPM = {
    "cline": "cline@3.0.65",
    "cline-classic": "cline@2.18.0",
    "opencode": "opencode-ai@1.18.33",
    "continue": "@continuedev/cli@1.5.47",
    "codex": "@openai/codex@0.169.0",
    "claude-code": "@anthropic-ai/claude-code@2.1.330",
    "qwen-code": "@qwen-code/qwen-code@0.24.4",
    "openai-js": "openai@7.57.0",
}
"""Folder to package."""
PYPI = {
    "aider": ("aider-chat==0.86.2",),
    "sdks": ("openai==3.54.0", "anthropic==2.12.0", "ollama==0.6.3", "lmstudio==1.5.0"),
    "chains": ("litellm==1.106.2", "langchain-openai==1.7.3", "llm==0.32.1"),
}
"""Environment to packages."""
INSTALL_LIMIT_S = 1200


class NotInstalled(Exception):
    """A client could not be brought here; the text says why."""


def clients_home() -> Path:
    """The folder of all clients: about 3 GB; kept from run to run."""
    if given := os.environ.get("CLIENTS_HOME"):
        return Path(given)
    if os.getuid() == 0:
        # Clients run as another user then, who cannot look into root's home.
        return Path("/var/tmp/impetus-clients")
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "impetus" / "clients"


def npm_bin(name: str, program: str) -> str:
    """Installs an npm package if it is not there yet; gives the path of its program. Raises NotInstalled."""
    folder = clients_home() / "npm" / name
    _once(folder, NPM[name], lambda: _npm(folder, NPM[name]))
    return str(folder / "node_modules" / ".bin" / program)


def npm_folder(name: str) -> Path:
    """Installs an npm package if it is not there yet; gives the folder that it can be imported from. Raises NotInstalled."""
    folder = clients_home() / "npm" / name
    _once(folder, NPM[name], lambda: _npm(folder, NPM[name]))
    return folder


def python_bin(name: str, program: str = "python") -> str:
    """Makes a Python environment if it is not there yet; gives the path of its program. Raises NotInstalled."""
    folder = clients_home() / "python" / name
    _once(folder, " ".join(PYPI[name]), lambda: _venv(folder, PYPI[name]))
    return str(folder / "bin" / program)


def _once(folder: Path, version: str, install: object) -> None:
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == version:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    assert callable(install)
    try:
        install()
    except (subprocess.SubprocessError, OSError) as error:
        raise NotInstalled(f"{version} cannot be installed: {error}") from error
    stamp.write_text(version)


def _npm(folder: Path, package: str) -> None:
    (folder / "package.json").write_text('{"private": true}')
    _run(["npm", "install", "--no-audit", "--no-fund", package], folder)


def _venv(folder: Path, packages: tuple[str, ...]) -> None:
    _run([sys.executable, "-m", "venv", str(folder)], folder)
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], folder)


def _run(command: list[str], folder: Path) -> None:
    with (folder / "install.log").open("ab") as log:
        subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=INSTALL_LIMIT_S
        )
