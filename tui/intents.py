"""What panes ask the app to do; the command palette asks the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.message import Message

ModelVerb = Literal["load", "unload", "switch", "chat"]


@dataclass
class ModelIntent(Message):
    """Something is to be done with a model."""

    verb: ModelVerb
    model_id: str


@dataclass
class ExplainIntent(Message):
    """It is to be said where a request's prompt came from."""

    request_id: str


@dataclass
class GovernorsIntent(Message):
    """It is to be said what the governors do about memory and heat, and why."""


@dataclass
class MachineIntent(Message):
    """It is to be said what this machine is."""


@dataclass
class ThemeIntent(Message):
    """A theme is to be used from now on."""

    name: str


@dataclass
class ListenIntent(Message):
    """The server is to answer on a further port, or to let go of it: whichever it does not do now."""

    port: int


@dataclass
class PullIntent(Message):
    """Something is to be downloaded."""

    reference: str


@dataclass
class CancelIntent(Message):
    """A download is to be ended."""

    download_id: str
