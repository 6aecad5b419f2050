"""Installs torch for the tests, where a build without CUDA is to be had; else says why not, and the tests of torch are skipped.

On Linux, PyPI's torch brings gigabytes of CUDA libraries that no test needs. So pip is first asked what it would take.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

TORCH = "torch==2.13.0"
MOST_S = 900


def main() -> int:
    """Gives 0 in any case: without torch its tests are skipped."""
    try:
        print(f"torch {version('torch')} is there")
    except PackageNotFoundError:
        print(install())
    return 0


def install() -> str:
    """Installs torch and says what came of it."""
    try:
        report = run("install", "--dry-run", "--quiet", "--report", "-", "--no-deps", TORCH)
    except subprocess.SubprocessError as error:
        return f"torch is not tested: pip finds no {TORCH} ({error})"
    url = json.loads(report)["install"][0]["download_info"]["url"]
    if sys.platform == "linux" and platform.machine() == "x86_64" and "+cpu" not in url and "%2Bcpu" not in url:
        return "torch is not tested: pip would fetch its build with CUDA"
    try:
        run("install", "--quiet", TORCH)
    except subprocess.SubprocessError as error:
        return f"torch is not tested: it could not be installed ({error})"
    return f"torch {version('torch')} is installed for the tests"


def run(*arguments: str) -> str:
    """Runs pip of this environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=MOST_S).stdout


if __name__ == "__main__":
    sys.exit(main())
