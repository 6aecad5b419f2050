"""Vectors, scores, gaps and tokens over a live server, by OpenAI's own client and by hand."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import ollama
import openai
import pytest
from gguf import PoolingType
from openai import AsyncOpenAI
from openai.types import CreateEmbeddingResponse
from openai_facts import EMBEDDINGS, check
from tiny_embedding import CONTEXT, WIDTH, write_bert, write_decoder
from tiny_models import tiny_llama

pytestmark = pytest.mark.engine

TEXTS = ["the cat sat on the mat", "a small dog ran", "one two three"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four tiny models."""
    folder = tmp_path_factory.mktemp("models")
    write_bert(folder / "tiny-bert.gguf")
    write_bert(folder / "tiny-rank.gguf", seed=2, pooling=PoolingType.RANK)
    write_decoder(folder / "tiny-qwen3-embedding.gguf", PoolingType.LAST)
    (folder / "tiny-qwen3-embedding.plain").unlink()
    tiny_llama(folder / "tiny-coder.gguf", context_length=512)
    return folder


@pytest.fixture
async def live(serve, models: Path, tmp_path: Path) -> AsyncIterator:
    (tmp_path / "models").symlink_to(models)
    async with serve() as live:
        yield live


@pytest.fixture
async def client(live) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=30) as client:
        yield client


async def post(live, path: str, body: object, *, status: int = 200) -> dict[str, object]:
    async with live.session.post(live.url + path, json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def test_openais_client_gets_a_vector_for_each_text(client: AsyncOpenAI, live) -> None:
    answer = await client.embeddings.create(model="tiny-bert", input=TEXTS)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    vectors = np.array([entry.embedding for entry in answer.data])
    assert vectors.shape == (3, WIDTH)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    numbers = await client.embeddings.create(model="tiny-bert", input=TEXTS, encoding_format="float")
    assert np.array([entry.embedding for entry in numbers.data]) == pytest.approx(vectors, abs=1e-3)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 8 + 6 + 5
    record = live.runtime.journal.newest(1)[0]
    assert (record.model, record.route, record.stage, record.prompt_tokens) == ("tiny-bert", "/v1/embeddings", "done", 19)


async def test_2048_inputs_are_served_in_order_and_one_more_is_refused(client: AsyncOpenAI) -> None:
    inputs = [f"{TEXTS[index % 3]} {'cat ' * (index % 7)}" for index in range(2048)]
    answer = await client.embeddings.create(model="tiny-bert", input=inputs)
    assert len(answer.data) == 2048
    for index in (0, 1000, 2047):
        [alone] = (await client.embeddings.create(model="tiny-bert", input=inputs[index])).data
        assert answer.data[index].embedding == pytest.approx(alone.embedding, abs=1e-3)
    with pytest.raises(openai.BadRequestError, match="2049 inputs are too many"):
        await client.embeddings.create(model="tiny-bert", input=[*inputs, "one more"])


async def test_both_encodings_hold_the_same_numbers(live) -> None:
    body = {"model": "tiny-bert", "input": [2, 4, 5, 3]}
    plain = await post(live, "/v1/embeddings", body)
    packed = await post(live, "/embeddings", body | {"encoding_format": "base64"})
    check(EMBEDDINGS, plain)
    check(EMBEDDINGS, packed)
    CreateEmbeddingResponse.model_validate(plain)
    decoded = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")  # type: ignore[index]
    assert decoded.tolist() == pytest.approx(plain["data"][0]["embedding"], abs=1e-3)  # type: ignore[index]


async def test_dimensions_hold_where_the_model_allows_them(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="tiny-qwen3-embedding", input="def read", dimensions=40)
    assert len(answer.data[0].embedding) == 40
    assert np.linalg.norm(answer.data[0].embedding) == pytest.approx(1, abs=1e-6)
    with pytest.raises(openai.BadRequestError, match="cannot be cut shorter") as caught:
        await client.embeddings.create(model="tiny-bert", input="cat", dimensions=8)
    assert caught.value.param == "dimensions"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["cat", ""]}, "input[1]"),
        ({"input": ["cat", [1]]}, "input"),
        ({"input": [[2, 3], []]}, "input[1]"),
        ({"input": [[2, 3], [999]]}, "input[1]"),
        ({"input": "cat", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "cat", "dimensions": 0}, "dimensions"),
    ],
)
async def test_what_is_wrong_is_named(live, fields: dict[str, object], param: str) -> None:
    answer = await post(live, "/v1/embeddings", {"model": "tiny-bert"} | fields, status=400)
    assert answer["error"]["param"] == param  # type: ignore[index]


async def test_what_is_too_long_is_refused_with_both_numbers(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=rf"length is {CONTEXT} tokens.*resulted in 202 tokens") as caught:
        await client.embeddings.create(model="tiny-bert", input=["cat", "cat " * 200])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input[1]")


async def test_a_model_for_something_else_is_refused_before_it_is_loaded(client: AsyncOpenAI, live) -> None:
    with pytest.raises(
        openai.BadRequestError, match=r"'tiny-coder' writes text.*Models here that do: tiny-bert, tiny-qwen3-embedding"
    ) as caught:
        await client.embeddings.create(model="tiny-coder", input="cat")
    assert caught.value.code == "model_lacks_ability"
    with pytest.raises(openai.BadRequestError, match=r"'tiny-bert' gives embeddings; it does not write text.*tiny-coder"):
        await client.completions.create(model="tiny-bert", prompt="cat")
    answer = await post(live, "/v1/rerank", {"model": "tiny-bert", "query": "a", "documents": ["b"]}, status=400)
    assert "Models here that do: tiny-rank" in answer["error"]["message"]  # type: ignore[index]
    assert all(status.state == "unloaded" for status in live.runtime.statuses())


async def test_documents_come_back_the_best_first(live) -> None:
    body = {"model": "tiny-rank", "query": "where is the cat?", "documents": [*TEXTS, {"text": "the big blue tree"}]}
    answer = await post(live, "/v1/rerank", body)
    results: list[dict[str, object]] = answer["results"]  # type: ignore[assignment]
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]  # type: ignore[type-var]
    assert all(0 <= score <= 1 for score in scores)  # type: ignore[operator]
    assert answer["data"] == results
    assert answer["usage"]["total_tokens"] > 4 * 7  # type: ignore[index]
    for path in ("/rerank", "/v1/reranking"):
        best = await post(live, path, body | {"top_n": 1, "return_documents": True})
        [result] = best["results"]  # type: ignore[misc]
        assert result["index"] == results[0]["index"]
        assert result["document"] == {"text": [*TEXTS, "the big blue tree"][result["index"]]}
    wrong = await post(live, "/v1/rerank", body | {"documents": []}, status=400)
    assert wrong["error"]["param"] == "documents"  # type: ignore[index]


async def test_a_client_that_leaves_ends_its_work(live) -> None:
    async with asyncio.timeout(20):
        await post(live, "/v1/embeddings", {"model": "tiny-bert", "input": "cat"})
        body = {"model": "tiny-bert", "input": ["the cat sat on the mat and the dog ran " * 12] * 2048}
        task = asyncio.create_task(post(live, "/v1/embeddings", body))
        await live.until("prefill")
        task.cancel()
        await live.until("cancelled")
        await post(live, "/v1/embeddings", {"model": "tiny-bert", "input": "cat"})


async def test_a_gap_is_filled_by_either_route(client: AsyncOpenAI, live) -> None:
    gap = {"temperature": 0, "model": "tiny-coder"}
    completed = await client.completions.create(prompt="def read", suffix="return name", max_tokens=8, **gap)
    body = gap | {"input_prefix": "def ", "prompt": "read", "input_suffix": "return name", "n_predict": 8}
    filled = await post(live, "/infill", body)
    assert filled["content"] == completed.choices[0].text != ""
    assert (filled["stop"], filled["stop_type"], filled["tokens_predicted"]) == (True, "limit", 8)
    assert filled["tokens_evaluated"] == completed.usage.prompt_tokens  # type: ignore[union-attr]
    picked = await post(live, "/infill", body | {"response_fields": ["content", "timings/predicted_n", "nothing/here"]})
    assert picked == {"content": filled["content"], "timings/predicted_n": 8}
    prepared = await post(live, "/infill", body | {"n_predict": 0})
    assert (prepared["content"], prepared["tokens_predicted"]) == ("", 0)
    extra = [{"filename": "a.py", "text": "def write"}]
    longer = await post(live, "/infill", body | {"input_extra": extra})
    assert longer["tokens_evaluated"] > filled["tokens_evaluated"]  # type: ignore[operator]


async def test_a_gap_is_streamed_as_llama_server_does(live) -> None:
    body = {"model": "tiny-coder", "temperature": 0, "input_prefix": "def read", "input_suffix": "return", "n_predict": 8}
    whole = await post(live, "/infill", body)
    async with live.session.post(live.url + "/infill", json=body | {"stream": True}) as response:
        lines = (await response.text()).split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert "".join(event["content"] for event in events) == whole["content"]
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["tokens_predicted"] == 8


async def test_a_suffix_goes_with_text_only(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'suffix' goes with a prompt that is text"):
        await client.completions.create(model="tiny-coder", prompt=[1, 2], suffix="end")


async def test_tokens_and_templates_need_no_model_name_where_one_is_loaded(live) -> None:
    nameless = await post(live, "/tokenize", {"content": "cat"}, status=400)
    assert "Name a model, as none is in memory" in nameless["error"]["message"]  # type: ignore[index]
    text = "def read<|im_end|> ä"
    tokens = (await post(live, "/tokenize", {"model": "tiny-coder", "content": text}))["tokens"]
    assert (await post(live, "/detokenize", {"tokens": tokens})) == {"content": text}
    plain = (await post(live, "/tokenize", {"content": text, "parse_special": False}))["tokens"]
    assert len(plain) > len(tokens)  # type: ignore[arg-type]
    pieces = (await post(live, "/tokenize", {"content": ["ä", 2], "with_pieces": True}))["tokens"]
    assert [piece["piece"] for piece in pieces] == [[0xC3], [0xA4], "<|im_end|>"]  # type: ignore[union-attr]
    messages = [{"role": "user", "content": "hi"}]
    answer = await post(live, "/apply-template", {"messages": messages})
    assert answer == {"prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"}
    wrong = await post(live, "/detokenize", {"tokens": [512]}, status=400)
    assert wrong["error"]["param"] == "tokens"  # type: ignore[index]


async def test_ollamas_client_gets_vectors_and_long_texts_are_cut(live) -> None:
    async with ollama.AsyncClient(host=live.url, timeout=30) as client:
        answer = await client.embed("tiny-bert", TEXTS)
        assert np.array(answer.embeddings).shape == (3, WIDTH)
        assert answer.prompt_eval_count == 8 + 6 + 5
        one = await client.embeddings("tiny-bert", TEXTS[0])
        assert list(one.embedding) == pytest.approx(list(answer.embeddings[0]), abs=1e-3)
        cut = await client.embed("tiny-bert", ["cat", "cat " * 200])
        assert cut.prompt_eval_count == 3 + CONTEXT
        with pytest.raises(ollama.ResponseError, match="maximum context length is"):
            await client.embed("tiny-bert", "cat " * 200, truncate=False)
        assert (await client.show("tiny-bert")).capabilities == ["embedding"]
        coder = await client.show("tiny-coder:latest")
        assert ".Suffix" in (coder.template or "")
        assert coder.capabilities == ["completion", "tools", "insert"]
        filled = await client.generate("tiny-coder", "def read", suffix="return name", options={"num_predict": 8})
        assert filled.eval_count == 8
