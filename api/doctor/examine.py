"""The whole examination: the machine, the server, and each client's conversations with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from ...runtime.config import Config
from ...runtime.errors import InvalidRequest
from ...runtime.home import Home
from ...runtime.presence import find_servers
from .check import Check
from .clients import CLIENTS, Client
from .exchange import Exchange, NoAnswer
from .machine import examine_machine
from .trials import Subject, try_client

SERVER = "server"


def examine(
    config: Config,
    home: Home,
    environment: Mapping[str, str],
    *,
    client: str | None = None,
    url: str | None = None,
    model: str | None = None,
) -> Iterator[Check]:
    """Looks at everything, one check after the other.

    Args:
        config: the settings that hold.
        home: where things lie.
        environment: the environment variables.
        client: tries this one alone, by its name; None all of them.
        url: the server to try; None the newest that runs here.
        model: the model to try; None one that is in memory.

    Raises:
        InvalidRequest: there is no such client.
    """
    clients = choose_clients(client)
    servers = find_servers(home.state_dir)
    url = url or (servers[0].url if servers else None)
    if url is None:
        yield from examine_machine(config, home, environment, ours=())
        yield Check(SERVER, "server", "skip", "no server runs here", "Start one with `impetus` or `impetus serve`.")
        return
    exchange = Exchange(url.rstrip("/"), api_key=config.server.api_key)
    try:
        status = exchange.status()
    except NoAnswer as error:
        yield from examine_machine(config, home, environment, ours=())
        yield Check(SERVER, "server", "fail", str(error), "Start it anew, or check --url and server.api_key.")
        return
    ports = {urlsplit(url).port or 80, *(each.port for each in status.addresses if each.state == "listening")}
    yield from examine_machine(config, home, environment, ours=sorted(ports))
    yield Check(SERVER, "server", "pass", f"Impetus {status.version} at {url}")
    subject = _find_subject(exchange, model)
    if isinstance(subject, Check):
        yield subject
        return
    yield Check(SERVER, "model", "pass", f"{subject.model}, {subject.context_length} tokens of context")
    for each in clients:
        yield from try_client(each, subject)


def choose_clients(name: str | None) -> tuple[Client, ...]:
    """Gives the clients to try; raises InvalidRequest, with those there are."""
    chosen = tuple(client for client in CLIENTS if name in (None, client.name))
    if not chosen:
        raise InvalidRequest(f"there is no client '{name}' here; known are {', '.join(client.name for client in CLIENTS)}.")
    return chosen


def _find_subject(exchange: Exchange, wanted: str | None) -> Subject | Check:
    """Finds the model to try; loads one that is named."""
    if wanted is not None:
        reply = exchange.send("POST", "/impetus/v1/models/load", {"model": wanted})
        if reply.status != 200:
            return Check(SERVER, "model", "fail", reply.words, "Name a model of `impetus ls`.")
    for model in exchange.status().models:
        if model.state == "ready" and wanted in (None, model.id) and model.context_length is not None:
            return Subject(exchange, model.id, model.context_length, repeats=model.id == "echo")
    return Check(SERVER, "model", "skip", "no model is in memory", "`impetus load ID` or --model ID, then try again.")
