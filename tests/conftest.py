import os
from pathlib import Path

import pytest

# What a developer set for their own downloads is no business of the tests; huggingface_hub reads it once, on import.
for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny GGUF models by what is special about them: llama, qwen3, gemma3, lfm2, mamba2, granite_hybrid, deepseek2."""
    # Most runs need none of them, and numpy is slow to import.
    from tiny_models import write_tiny_models

    return write_tiny_models(tmp_path_factory.mktemp("tiny-models"))
