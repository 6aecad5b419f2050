"""Vectors and scores: embeddings and reranking."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from ...runtime.questions import Embedded, Ranked
from ..body import read_body
from ..dialects import embeddings, rerank
from ..dialects.assembled import EmbeddingsAnswer
from ..keys import OPERATIONS
from ..run import ask


def add_routes(app: web.Application) -> None:
    """Adds the routes, also without `/v1`, and under each name that clients know."""
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/embeddings", post_embeddings)
        app.router.add_post(f"{prefix}/rerank", post_rerank)
        app.router.add_post(f"{prefix}/reranking", post_rerank)
    app[OPERATIONS].describe(post_embeddings, body=embeddings.EMBEDDINGS, answer=EmbeddingsAnswer)
    app[OPERATIONS].describe(post_rerank, body=rerank.RERANK, answer=rerank.RerankAnswer)


async def post_embeddings(request: web.Request) -> web.Response:
    """Gives a vector for each text."""
    body = await read_body(request, embeddings.EMBEDDINGS)
    answer = await ask(request, body.model, embeddings.to_question(body), Embedded)
    pieces: list[bytes] = []
    for piece in embeddings.to_pieces(answer, body.model, body.encoding_format or "float"):
        pieces.append(piece)
        await asyncio.sleep(0)  # streams and the dashboard have their turn between two pieces
    return web.Response(body=b"".join(pieces), content_type="application/json")


async def post_rerank(request: web.Request) -> web.Response:
    """Sorts documents by how well they answer a query."""
    body = await read_body(request, rerank.RERANK)
    answer = await ask(request, body.model, rerank.to_question(body), Ranked)
    return web.json_bytes_response(rerank.to_answer(body, answer), dumps=msgspec.json.encode)
