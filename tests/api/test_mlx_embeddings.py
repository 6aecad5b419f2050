"""A decoder that gives vectors, as mlx-lm quantizes it, over a live server."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

pytest.importorskip("torch")
if find_spec("mlx_lm") is None:
    pytest.skip("mlx_lm is not installed", allow_module_level=True)

from tiny_decoder import WIDTH, add_card, make_decoder, states_of

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

NAME = "Tiny-Qwen3-Embedding-8bit"
TEXTS = ["the cat sat on the mat", "a small dog ran", "one two three " * 12]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: one in 8 bits, and the one that it was made of, with 16 bits."""
    from mlx_lm import convert

    root = tmp_path_factory.mktemp("folders")
    make_decoder(root / "whole", whole=True, dtype="bfloat16")
    convert(str(root / "whole"), str(root / NAME), quantize=True, q_bits=8, q_group_size=32)
    add_card(root / NAME, "mlx", "sentence-transformers")
    return root


async def test_vectors_are_those_of_the_model_and_as_long_as_wanted(serve, folders: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / NAME).symlink_to(folders / NAME)
    async with (
        serve() as live,
        AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=60) as client,
    ):
        together = await client.embeddings.create(model=NAME, input=TEXTS)
        [status] = [status for status in live.runtime.statuses() if status.model.id == NAME]
        assert status.model.header.ability == "embedding"
        assert (status.engine or "").startswith("mlx-lm ")
        for text, entry in zip(TEXTS, together.data, strict=True):
            vector = np.array(entry.embedding)
            assert vector.shape == (WIDTH,)
            async with live.session.post(live.url + "/tokenize", json={"model": NAME, "content": text}) as response:
                tokens = (await response.json())["tokens"]
            exact = states_of(folders / "whole", (*tokens, 2))[-1]
            assert float(vector @ exact / np.linalg.norm(exact)) > 0.999
            alone = await client.embeddings.create(model=NAME, input=text)
            assert alone.data[0].embedding == pytest.approx(entry.embedding, abs=1e-4)
            short = (await client.embeddings.create(model=NAME, input=text, dimensions=32)).data[0].embedding
            assert np.array(short) == pytest.approx(vector[:32] / np.linalg.norm(vector[:32]), abs=1e-4)
        with pytest.raises(openai.BadRequestError, match="takes 32 to 64 dimensions"):
            await client.embeddings.create(model=NAME, input="cat", dimensions=65)
