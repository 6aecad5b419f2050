"""Pictures over the API, with a tiny model and a tiny projector beside it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tiny_companions import make_picture, tiny_projector
from tiny_models import tiny_llama

pytestmark = pytest.mark.engine


@pytest.fixture
async def live(serve, tmp_path: Path) -> AsyncIterator[object]:
    models = tmp_path / "models"
    (models / "seeing").mkdir(parents=True)
    tiny_llama(models / "seeing" / "seeing.gguf")
    tiny_projector(models / "seeing" / "mmproj-F16.gguf")
    tiny_llama(models / "blind.gguf")
    async with serve() as live:
        yield live


async def ask(live, *pictures: bytes, status: int = 200, model: str = "seeing") -> dict:
    urls = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in pictures]
    content = [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": "what is this?"}]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 12}
    async with live.session.post(live.url + "/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def test_a_picture_is_answered_and_the_second_time_taken_over(live) -> None:
    async with live.session.get(live.url + "/v1/models") as response:
        models = {model["id"]: model for model in (await response.json())["data"]}
    assert (models["seeing"]["vision"], "vision" in models["blind"]) == (True, False)
    red, blue = make_picture(1), make_picture(2)
    answers = [await ask(live, picture) for picture in (red, blue, red)]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts[0] == texts[2] != texts[1]
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    assert cached[2] > 64 > cached[1]
    assert answers[0]["usage"]["prompt_tokens"] > 64


@pytest.mark.parametrize(
    ("picture", "model", "says"),
    [
        (b"no picture", "seeing", "none of PNG"),
        (make_picture(1)[:80], "seeing", "damaged"),
        (make_picture(1), "blind", "takes text only"),
    ],
)
async def test_a_picture_that_cannot_be_seen_is_the_caller_s_fault(live, picture: bytes, model: str, says: str) -> None:
    error = (await ask(live, picture, status=400, model=model))["error"]
    assert says in error["message"]
    assert error["param"] == "messages"
