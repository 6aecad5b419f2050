"""The WebSockets of LM Studio's SDKs: who may come in, calls and channels, and their ends."""

from __future__ import annotations

import hmac
import logging
from functools import partial

import msgspec
from aiohttp import WSMsgType, web

from ...runtime.errors import ImpetusError, InvalidRequest, Overloaded
from ...runtime.tasks import Tasks
from ..body import MIB
from ..dialects import lmstudio_socket as wire
from ..errors import describe, describe_unforeseen
from ..keys import REQUEST_ID, SETTINGS
from ..middleware import holds_key
from .lmstudio_calls import NAMESPACES, Caller, Channel, Namespace

log = logging.getLogger(__name__)

MOST_OPEN = 64
"""Calls and channels of one connection at a time."""
PING_S = 30.0
AUTHENTICATION_S = 20.0
"""How long a client may take to say who it is."""


def add_routes(app: web.Application) -> None:
    """Adds the greeting and a socket for each namespace."""
    app.router.add_get("/lmstudio-greeting", greet)
    for name in NAMESPACES:
        app.router.add_get(f"/{name}", partial(serve_socket, name))


async def greet(_request: web.Request) -> web.Response:
    """Says to the SDKs, which look for a server by it, that this is one."""
    return web.json_response({"lmstudio": True})


async def serve_socket(namespace: str, request: web.Request) -> web.StreamResponse:
    """Serves one connection until the client leaves."""
    socket = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=request.app[SETTINGS].max_body_mb * MIB)
    if not socket.can_prepare(request):
        raise InvalidRequest(f"/{namespace} is a WebSocket for LM Studio's SDKs.", code="upgrade_required")
    await socket.prepare(request)
    if await _let_in(request, socket):
        await Connection(request, socket, NAMESPACES[namespace]).serve()
    await socket.close()
    return socket


async def _let_in(request: web.Request, socket: web.WebSocketResponse) -> bool:
    """Reads who the client is; where a key is set, it comes in the request's headers or as the passkey."""
    key = request.app[SETTINGS].api_key
    try:
        message = await socket.receive(timeout=AUTHENTICATION_S)
        if message.type != WSMsgType.TEXT:
            return False
        who = wire.AUTHENTICATION.decode(message.data)
    except (TimeoutError, msgspec.DecodeError):
        await _send(socket, wire.Authenticated(success=False, error="The first message must say who the client is."))
        return False
    if key and not holds_key(request, key) and not hmac.compare_digest(who.client_passkey.encode(), key.encode()):
        await _send(socket, wire.Authenticated(success=False, error="The API key is missing or wrong; send it as the passkey."))
        return False
    await _send(socket, wire.Authenticated(success=True))
    return True


class Connection:
    """One client on one socket; its calls and channels are tasks that end with it."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, namespace: Namespace) -> None:
        self._caller = Caller(request, namespace.domain)
        self._socket = socket
        self._namespace = namespace
        self._channels: dict[int, Channel] = {}
        self._tasks = Tasks()

    async def serve(self) -> None:
        """Answers what the client says until it leaves."""
        try:
            async for message in self._socket:
                if message.type != WSMsgType.TEXT:
                    continue
                try:
                    said = wire.TO_SERVER.decode(message.data)
                except (msgspec.DecodeError, RecursionError) as error:
                    await self._send(wire.Warned(f"This was not understood: {error}."))
                    continue
                await self._answer(said)
        finally:
            await self._tasks.close()

    async def _answer(self, said: wire.ToServer) -> None:
        full = len(self._tasks) >= MOST_OPEN
        match said:
            case wire.RpcCall() if full:
                await self._send(wire.RpcError(said.call_id, self._explain(_too_many())))
            case wire.ChannelCreate() if full:
                await self._send(wire.ChannelError(said.channel_id, self._explain(_too_many())))
            case wire.RpcCall():
                self._tasks.begin(self._run_call(said), name=f"call {said.endpoint}")
            case wire.ChannelCreate():
                if said.channel_id in self._channels:
                    await self._send(wire.Warned(f"Channel {said.channel_id} is open already."))
                    return
                channel = self._channels[said.channel_id] = Channel(partial(self._send_on, said.channel_id))
                self._tasks.begin(self._run_channel(said, channel), name=f"channel {said.endpoint}")
            case wire.ChannelSend():
                await self._hear(said)
            case wire.SignalSubscribe():
                error = wire.ErrorBody(*_no_endpoint(said.endpoint))
                await self._send(wire.SignalError(said.subscribe_id, error))
            case wire.WritableSignalSubscribe():
                error = wire.ErrorBody(*_no_endpoint(said.endpoint))
                await self._send(wire.WritableSignalError(said.subscribe_id, error))
            case wire.KeepAlive():
                await self._send(wire.KeepAliveAck())
            case wire.Warned():
                log.info("a client of LM Studio's API warns: %s", said.warning)
            case wire.ChannelAck() | wire.SignalUnsubscribe() | wire.WritableSignalUnsubscribe() | wire.WritableSignalUpdate():
                pass

    async def _hear(self, said: wire.ChannelSend) -> None:
        channel = self._channels.get(said.channel_id)
        if channel is None:
            return  # it was closed while this was on its way
        if said.ack_id is not None:
            await self._send(wire.ChannelAck(said.channel_id, said.ack_id))
        try:
            word = wire.CHANNEL_WORD.decode(said.message).type
        except msgspec.DecodeError:
            word = ""
        if word in ("cancel", "stop", "cancelDownload", "cancelPlan"):
            channel.stopped.set()

    async def _run_call(self, said: wire.RpcCall) -> None:
        try:
            call = self._namespace.calls.get(said.endpoint)
            if call is None:
                raise InvalidRequest(_no_endpoint(said.endpoint)[0], code="unknown_endpoint")
            result = wire.to_result(said.call_id, await call(self._caller, said.parameter))
        except Exception as error:
            await self._send(wire.RpcError(said.call_id, self._explain(error)))
        else:
            await self._send(result)

    async def _run_channel(self, said: wire.ChannelCreate, channel: Channel) -> None:
        try:
            serve = self._namespace.channels.get(said.endpoint)
            if serve is None:
                raise InvalidRequest(_no_endpoint(said.endpoint)[0], code="unknown_endpoint")
            await serve(self._caller, said.creation_parameter, channel)
        except Exception as error:
            await self._send(wire.ChannelError(said.channel_id, self._explain(error)))
        else:
            await self._send(wire.ChannelClose(said.channel_id))
        finally:
            del self._channels[said.channel_id]

    def _explain(self, error: Exception) -> wire.ErrorBody:
        if isinstance(error, ImpetusError):
            return wire.to_error(describe(error), error)
        if not isinstance(error, ConnectionError):
            log.error("a call of LM Studio's API failed", exc_info=error)
        return wire.to_error(describe_unforeseen(self._caller.request[REQUEST_ID]))

    async def _send_on(self, channel_id: int, message: msgspec.Struct) -> None:
        await self._send(wire.ChannelSend(channel_id, msgspec.Raw(msgspec.json.encode(message))))

    async def _send(self, message: wire.FromServer) -> None:
        await _send(self._socket, message)


async def _send(socket: web.WebSocketResponse, message: wire.FromServer) -> None:
    """Sends a message; one for a client that left meanwhile is for nobody."""
    if not socket.closed:
        try:
            await socket.send_str(msgspec.json.encode(message).decode())
        except ConnectionError:
            log.debug("a client of LM Studio's API left before its answer")


def _too_many() -> Overloaded:
    return Overloaded(f"{MOST_OPEN} calls and channels are open on this connection; more are not served at a time.")


def _no_endpoint(name: str) -> tuple[str, str]:
    text = f"'{name}' is not served here."
    return text, text
