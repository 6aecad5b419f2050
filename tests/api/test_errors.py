"""Which error becomes which status."""

from __future__ import annotations

import pytest

from impetus.api.errors import BodyTooLarge, ForeignOrigin, KeyRefused, NoSuchRoute, WrongMethod, describe
from impetus.runtime.errors import (
    ConfigError,
    ContextOverflow,
    DownloadError,
    EngineCrashed,
    EngineError,
    ImpetusError,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    UnknownModel,
    UnservableModel,
)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("no", param="n", code="invalid_value"), 400, "invalid_value"),
        (UnknownModel("x", ["y"]), 404, "model_not_found"),
        (UnservableModel("x", "why"), 400, "model_not_servable"),
        (ContextOverflow(9000, 8192), 400, "context_length_exceeded"),
        (Overloaded("later"), 503, "overloaded"),
        (LoadFailed("x", "why"), 500, "model_load_failed"),
        (EngineCrashed("x", how="SIGKILL"), 503, "engine_crashed"),
        (EngineError("odd"), 500, "engine_error"),
        (DownloadError("net"), 502, "download_failed"),
        (ConfigError("bad"), 400, "invalid_setting"),
        (KeyRefused("no"), 401, "invalid_api_key"),
        (ForeignOrigin("no"), 403, "foreign_origin"),
        (NoSuchRoute("GET", "/x", ["GET /health"]), 404, "unknown_route"),
        (WrongMethod("PUT", "/x", ["GET"]), 405, "method_not_allowed"),
        (BodyTooLarge(32), 413, "request_too_large"),
    ],
)
def test_an_error_has_its_status_its_code_and_its_own_words(error: ImpetusError, status: int, code: str) -> None:
    failure = describe(error)
    assert (failure.status, failure.code, failure.message) == (status, code, error.message)
    assert failure.kind.endswith("_error")


def test_what_comes_after_is_said_where_it_helps() -> None:
    assert describe(Overloaded("later", retry_after_s=3)).retry_after_s == 3
    assert describe(EngineCrashed("x", how="SIGKILL")).retry_after_s == 1
    assert not describe(LoadFailed("x", "why")).retry_helps
    assert describe(InvalidRequest("no")).retry_after_s is None
    assert describe(InvalidRequest("no", param="n")).param == "n"
