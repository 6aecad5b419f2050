"""`python -m impetus.runtime.worker.about PACKAGE`: imports an engine's package and says what it is, as JSON.

In a process of its own, so that a broken build ends no other.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import packages_distributions, version


def describe(package: str) -> str:
    """Imports a package; gives its version, and of llama.cpp what the build can do."""
    module = importlib.import_module(package)
    names = packages_distributions().get(package, [package])
    words = [f"{names[0]} {version(names[0])}"]
    if package == "llama_cpp":
        words.append("with GPU" if module.llama_supports_gpu_offload() else "without GPU")
        words.append(module.llama_print_system_info().decode().strip(" |"))
    return ", ".join(words)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(sys.argv[1])))
