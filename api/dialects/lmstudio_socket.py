"""What LM Studio's SDKs and its server say to each other on a WebSocket.

After the schemas of https://github.com/lmstudio-ai/lmstudio-js, `packages/lms-communication`. A client says first who it is;
then calls have one result each, and channels many messages both ways until the server closes them.
"""

from __future__ import annotations

import msgspec

from ...runtime.errors import UnknownModel
from ..errors import Failure

NOTHING = msgspec.Raw(b"null")
"""Stands for a parameter that is not given."""


class Authentication(msgspec.Struct, frozen=True, rename="camel"):
    """Who the client is."""

    auth_version: int
    client_identifier: str = ""
    client_passkey: str = ""


class Authenticated(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the client may go on."""

    success: bool
    error: str | None = None


class RpcCall(msgspec.Struct, frozen=True, tag_field="type", tag="rpcCall", rename="camel"):
    """Asks for one result."""

    endpoint: str
    call_id: int
    parameter: msgspec.Raw = NOTHING


class ChannelCreate(msgspec.Struct, frozen=True, tag_field="type", tag="channelCreate", rename="camel"):
    """Opens a channel."""

    endpoint: str
    channel_id: int
    creation_parameter: msgspec.Raw = NOTHING


class ChannelSend(msgspec.Struct, frozen=True, tag_field="type", tag="channelSend", rename="camel", omit_defaults=True):
    """Says something on a channel."""

    channel_id: int
    message: msgspec.Raw
    ack_id: int | None = None
    """The other side wants to know that it arrived."""


class ChannelAck(msgspec.Struct, frozen=True, tag_field="type", tag="channelAck", rename="camel"):
    """A message of a channel arrived."""

    channel_id: int
    ack_id: int


class SignalSubscribe(msgspec.Struct, frozen=True, tag_field="type", tag="signalSubscribe", rename="camel"):
    """Wants to follow a value; there is none to follow here."""

    endpoint: str
    subscribe_id: int


class SignalUnsubscribe(msgspec.Struct, frozen=True, tag_field="type", tag="signalUnsubscribe", rename="camel"):
    """Follows a value no longer."""

    subscribe_id: int


class WritableSignalSubscribe(msgspec.Struct, frozen=True, tag_field="type", tag="writableSignalSubscribe", rename="camel"):
    """Wants to follow and change a value; there is none here."""

    endpoint: str
    subscribe_id: int


class WritableSignalUnsubscribe(msgspec.Struct, frozen=True, tag_field="type", tag="writableSignalUnsubscribe", rename="camel"):
    """Follows a value no longer."""

    subscribe_id: int


class WritableSignalUpdate(msgspec.Struct, frozen=True, tag_field="type", tag="writableSignalUpdate", rename="camel"):
    """Changes a value; there is none here."""

    subscribe_id: int


class KeepAlive(msgspec.Struct, frozen=True, tag_field="type", tag="keepAlive"):
    """The client is there, and asks whether the server is."""


class Warned(msgspec.Struct, frozen=True, tag_field="type", tag="communicationWarning"):
    """The other side did not understand something."""

    warning: str


ToServer = (
    RpcCall
    | ChannelCreate
    | ChannelSend
    | ChannelAck
    | SignalSubscribe
    | SignalUnsubscribe
    | WritableSignalSubscribe
    | WritableSignalUnsubscribe
    | WritableSignalUpdate
    | KeepAlive
    | Warned
)


class ChannelWord(msgspec.Struct, frozen=True):
    """What a client says on a channel, whatever channel it is."""

    type: str = ""


class ErrorBody(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An error as the SDKs raise it."""

    title: str
    root_title: str
    display_data: NoModel | None = None


class ModelQuery(msgspec.Struct, frozen=True):
    """Which model was looked for."""

    identifier: str


class NoModel(msgspec.Struct, frozen=True, rename="camel"):
    """No model was found; the SDKs have an exception of its own for it."""

    query: ModelQuery
    loaded_models_sample: tuple[str, ...]
    total_loaded_models: int
    code: str = "generic.noModelMatchingQuery"


class RpcResult(msgspec.Struct, frozen=True, tag_field="type", tag="rpcResult", rename="camel", omit_defaults=True):
    """The result of a call; a call that only does something has none."""

    call_id: int
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class RpcError(msgspec.Struct, frozen=True, tag_field="type", tag="rpcError", rename="camel"):
    """A call failed."""

    call_id: int
    error: ErrorBody


class ChannelClose(msgspec.Struct, frozen=True, tag_field="type", tag="channelClose", rename="camel"):
    """Nothing more comes on a channel."""

    channel_id: int


class ChannelError(msgspec.Struct, frozen=True, tag_field="type", tag="channelError", rename="camel"):
    """A channel failed; nothing more comes on it."""

    channel_id: int
    error: ErrorBody


class SignalError(msgspec.Struct, frozen=True, tag_field="type", tag="signalError", rename="camel"):
    """A value cannot be followed."""

    subscribe_id: int
    error: ErrorBody


class WritableSignalError(msgspec.Struct, frozen=True, tag_field="type", tag="writableSignalError", rename="camel"):
    """A value cannot be followed and changed."""

    subscribe_id: int
    error: ErrorBody


class KeepAliveAck(msgspec.Struct, frozen=True, tag_field="type", tag="keepAliveAck"):
    """The server is there."""


FromServer = (
    Authenticated
    | RpcResult
    | RpcError
    | ChannelSend
    | ChannelAck
    | ChannelClose
    | ChannelError
    | SignalError
    | WritableSignalError
    | KeepAliveAck
    | Warned
)

AUTHENTICATION = msgspec.json.Decoder(Authentication)
TO_SERVER: msgspec.json.Decoder[ToServer] = msgspec.json.Decoder(ToServer)
CHANNEL_WORD = msgspec.json.Decoder(ChannelWord)


def to_error(failure: Failure, error: Exception | None = None) -> ErrorBody:
    """Puts a failure into the SDKs' error object; the error itself says more of a model that is not there."""
    if isinstance(error, UnknownModel):
        data = NoModel(ModelQuery(error.model), error.known, len(error.known))
        return ErrorBody(failure.message, failure.message, data)
    return ErrorBody(failure.message, failure.message)


def to_result(call_id: int, result: msgspec.Struct | list[msgspec.Struct] | None) -> RpcResult:
    """Gives the result of a call."""
    return RpcResult(call_id, msgspec.UNSET if result is None else msgspec.Raw(msgspec.json.encode(result)))
