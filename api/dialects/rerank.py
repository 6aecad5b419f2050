"""Reranking as Jina and Cohere shape it: `/v1/rerank`, both ways.

Fields after https://api.jina.ai/redoc#tag/rerank and https://docs.cohere.com/reference/rerank. Continue reads the answer in
Voyage's shape, so the results also stand under `data`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.questions import Rank, Ranked

MOST_DOCUMENTS = 2048
"""Of one request."""

Count = Annotated[int, Meta(ge=1)]


class DocumentBody(msgspec.Struct, frozen=True):
    """A document as an object."""

    text: str


class RerankBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/rerank`."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | DocumentBody], Meta(min_length=1)]
    top_n: Count | None = None
    top_k: Count | None = None
    """Voyage's name of `top_n`, which wins."""
    return_documents: bool | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The documents' texts."""
        return tuple(document if isinstance(document, str) else document.text for document in self.documents)


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One document's place."""

    index: int
    """Its place in the request."""
    relevance_score: float
    document: DocumentBody | None = None


class Usage(msgspec.Struct, frozen=True):
    """Token counts of what was only read."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(msgspec.Struct, frozen=True):
    """The documents, the best first."""

    model: str
    results: list[Result]
    data: list[Result]
    usage: Usage
    object: Literal["list"] = "list"


RERANK = msgspec.json.Decoder(RerankBody)


def to_question(body: RerankBody) -> Rank:
    """Translates a body; raises InvalidRequest for what the types alone cannot tell."""
    if len(body.documents) > MOST_DOCUMENTS:
        raise InvalidRequest(
            f"'documents': {len(body.documents)} are too many for one request; {MOST_DOCUMENTS} are the most.",
            param="documents",
            code="invalid_value",
        )
    return Rank(body.query, body.texts)


def to_answer(body: RerankBody, ranked: Ranked) -> RerankAnswer:
    """Sorts the documents by their scores; equal ones keep their order."""
    order = sorted(range(len(ranked.scores)), key=lambda index: -ranked.scores[index])[: body.top_n or body.top_k]
    plain = [Result(index, ranked.scores[index]) for index in order]
    texts = body.texts
    results = plain
    if body.return_documents:
        results = [Result(one.index, one.relevance_score, DocumentBody(texts[one.index])) for one in plain]
    return RerankAnswer(body.model, results, plain, Usage(ranked.prompt_tokens, ranked.prompt_tokens))
