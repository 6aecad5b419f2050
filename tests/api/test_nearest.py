"""Who asks for a route that does not exist is told of those it may have meant, and of no crowd of others."""

from __future__ import annotations

import pytest

from impetus.api.nearest import MOST_NAMED, name_nearest

ROUTES = [
    *(f"POST /v1/{name}" for name in ("completions", "embeddings", "rerank", "reranking", "infill", "tokenize", "detokenize")),
    *("POST /v1/chat/completions", "GET /v1/models", "GET /v1/models/{id}", "POST /v1/responses", "POST /v1/messages"),
    *(
        "GET /v1/responses/{id}",
        "DELETE /v1/responses/{id}",
        "POST /v1/responses/{id}/cancel",
        "POST /v1/messages/count_tokens",
    ),
    *(f"POST /api/{name}" for name in ("chat", "generate", "show", "embed", "pull", "copy", "create")),
    *("GET /api/tags", "GET /api/version", "DELETE /api/delete"),
    *("GET /api/v0/models", "POST /api/v0/chat/completions", "GET /api/v1/models", "POST /api/v1/chat"),
    *("GET /impetus/v1/status", "GET /impetus/v1/requests", "GET /impetus/v1/live", "GET /", "GET /health", "GET /docs"),
]


@pytest.mark.parametrize(
    ("method", "path", "first"),
    [
        ("POST", "/v1/chat/completion", "POST /v1/chat/completions"),
        ("POST", "/v1/v1/chat/completions", "POST /v1/chat/completions"),
        ("POST", "/chat/completionss", "POST /v1/chat/completions"),
        ("POST", "/v1/message", "POST /v1/messages"),
        ("GET", "/api/tag", "GET /api/tags"),
        ("GET", "/api/v0/model", "GET /api/v0/models"),
        ("GET", "/impetus/v1/state", "GET /impetus/v1/status"),
        ("GET", "/helth", "GET /health"),
    ],
)
def test_the_likest_route_comes_first(method: str, path: str, first: str) -> None:
    assert name_nearest(method, path, ROUTES)[0] == first


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/audio/speech", "/v1/images/generations", "/v1/files"])
def test_of_what_does_not_exist_the_dialects_main_routes_are_named(path: str) -> None:
    named = name_nearest("POST", path, ROUTES)
    assert {"POST /v1/chat/completions", "POST /v1/responses", "POST /v1/messages", "GET /v1/models"} <= set(named)
    assert len(named) == MOST_NAMED
    assert all(" /v1/" in route for route in named)


def test_one_dialects_client_hears_of_no_other() -> None:
    assert all(
        " /api/" in route and "/api/v" not in route.replace("/api/version", "")
        for route in name_nearest("POST", "/api/push", ROUTES)
    )
    assert all(" /api/v0/" in route for route in name_nearest("POST", "/api/v0/x", ROUTES))


def test_an_endless_path_costs_nothing_and_no_routes_are_none() -> None:
    assert len(name_nearest("GET", "/v1/" + "x" * 1_000_000, ROUTES)) == MOST_NAMED
    assert name_nearest("GET", "/x", []) == []
