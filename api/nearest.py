"""Which of many routes to name to somebody who asked for one that does not exist. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

MOST_NAMED = 10
_ROOTS = ("/impetus/v1", "/api/v0", "/api/v1", "/api", "/v1", "")
"""Where the paths of each dialect begin, the longer ones first."""
_MAIN = frozenset({"/v1/chat/completions", "/v1/models", "/v1/responses", "/v1/messages", "/api/chat", "/api/tags"})
"""What most who take a wrong turn are after."""
_SAME_METHOD = 0.1
_IS_MAIN = 0.3
_LONGEST_PATH = 200


def name_nearest(method: str, path: str, routes: Iterable[str]) -> list[str]:
    """Picks the routes of the same dialect that are most like what was asked for, the likest first.

    Args:
        method: as it was asked with.
        path: as it was asked for.
        routes: all there are, each as "POST /v1/models".
    """
    path = path[:_LONGEST_PATH]
    root = _root_of(path)
    matcher = SequenceMatcher(b=path, autojunk=False)

    def likeness(route: str) -> float:
        route_method, _, route_path = route.partition(" ")
        matcher.set_seq1(route_path)
        return matcher.ratio() + _SAME_METHOD * (route_method == method) + _IS_MAIN * (route_path in _MAIN)

    routes = list(routes)
    # A path without a root is a mistyped one of any dialect.
    alike = [route for route in routes if root and _root_of(route.partition(" ")[2]) == root] or routes
    return sorted(alike, key=likeness, reverse=True)[:MOST_NAMED]


def _root_of(path: str) -> str:
    return next(root for root in _ROOTS if not root or path == root or path.startswith(f"{root}/"))
