"""The pane to talk to a model; it takes the same way as every client's request."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from itertools import groupby
from typing import ClassVar

from textual import getters, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from ...runtime.errors import ImpetusError
from ...runtime.events import Event, ReasoningDelta, TextDelta
from ...runtime.journal import RequestRecord
from ...runtime.request import ChatPrompt, GenerateRequest, Message, TextPart
from ..format import count, duration, rate
from ..source import Endpoint, Source
from ..widgets.flow import Flow, Paragraph
from .pane import Pane

FLUSH_S = 0.1
"""Tokens are gathered for so long before the screen shows them."""


class ChatPane(Pane):
    """A conversation and the field to go on with it."""

    TITLE = "Chat"
    FOCUS = "#chat-input"
    HELP: ClassVar[str | None] = """\
Talks to a model. The request takes the same way as a client's and stands among the requests on the overview. Enter \
sends, Escape stops the reply; a second Escape leaves the field, so that the number keys change the pane again."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop / leave", id="chat.stop", tooltip="Stop the reply, or leave the field"),
        Binding("ctrl+n", "new", "New", id="chat.new", tooltip="Begin a new conversation"),
        Binding("ctrl+t", "next_model", "Model", id="chat.model", tooltip="Talk to the next model"),
        Binding("i,enter", "write", "Write", show=False, id="chat.write", tooltip="Go to the field"),
    ]

    flow = getters.query_one("#transcript", Flow)
    field = getters.query_one("#chat-input", Input)

    model_id = reactive[str | None](None, init=False)
    """Whom the next message goes to."""

    def __init__(self, source: Source, endpoint: Endpoint, *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._messages: list[Message] = []
        self._pending: list[TextDelta | ReasoningDelta] = []
        self._thinking = False
        """Whether the newest paragraph is what the model thinks."""
        self._record: RequestRecord | None = None
        self._reply: Worker[None] | None = None

    @property
    def replying(self) -> bool:
        """Whether a reply is on its way."""
        return self._reply is not None and self._reply.state in {WorkerState.PENDING, WorkerState.RUNNING}

    def compose(self) -> ComposeResult:
        """Puts the field under the conversation."""
        yield Flow(id="transcript")
        yield Input(placeholder="Write to the model, Enter sends", id="chat-input", select_on_focus=False)

    def on_mount(self) -> None:
        """Writes the titles and prepares the gathering of tokens."""
        self.flow.write_title("Chat")
        self.field.cursor_blink = False
        self._flushing = self.set_interval(FLUSH_S, self._flush, pause=True)

    def models_changed(self) -> None:
        """Keeps to a model that there is, a loaded one first."""
        statuses = [status for status in self.source.statuses() if status.model.problem is None]
        ids = [status.model.id for status in statuses]
        if self.model_id not in ids:
            ready = [status.model.id for status in statuses if status.state == "ready"]
            self.model_id = next(iter([*ready, *ids]), None)
        self._write_titles()

    def requests_changed(self) -> None:
        """Shows how fast the reply comes."""
        self._write_titles()

    def watch_model_id(self) -> None:
        """Names the model."""
        self._write_titles()

    @on(Input.Submitted, "#chat-input")
    def send(self, event: Input.Submitted) -> None:
        """Adds a message to the conversation and asks for the reply."""
        event.stop()
        text = event.value.strip()
        if not text or self.replying:
            return
        if self.model_id is None:
            self.notify("There is no model to talk to. Press Escape, then 3 to get one.", severity="warning", markup=False)
            return
        self.field.clear()
        self._messages.append(Message("user", (TextPart(text),)))
        self.flow.append([Paragraph(text, "strong", " you  ", "accent"), Paragraph("", "", "      ")])
        self._thinking = False
        self.flow.follow = True
        self._reply = self.reply(self.model_id)

    def action_stop(self) -> None:
        """Stops the reply; without one, leaves the field."""
        if self.replying and self._reply is not None:
            self._reply.cancel()
        else:
            self.flow.focus()

    def action_new(self) -> None:
        """Forgets the conversation."""
        if self.replying and self._reply is not None:
            self._reply.cancel()
        self._messages.clear()
        self._record = None
        self.flow.fill([])
        self._write_titles()
        self.field.focus()

    def action_next_model(self) -> None:
        """Goes on with another model."""
        ids = [status.model.id for status in self.source.statuses() if status.model.problem is None]
        if ids and not self.replying:
            at = ids.index(self.model_id) if self.model_id in ids else -1
            self.model_id = ids[(at + 1) % len(ids)]

    def action_write(self) -> None:
        """Goes to the field."""
        self.field.focus()

    @work(exclusive=True, group="reply", exit_on_error=False)
    async def reply(self, model_id: str) -> None:
        """Streams a reply into the conversation."""
        journal = self.source.journal
        record = self._record = journal.open(model=model_id, client="dashboard", route="dashboard")
        request = GenerateRequest(model=model_id, prompt=ChatPrompt(tuple(self._messages)))
        said: list[TextDelta | ReasoningDelta] = []
        self._flushing.resume()
        try:
            async with aclosing(self.source.generate(request, record)) as batches:
                async for batch in batches:
                    words = [event for event in batch if isinstance(event, TextDelta | ReasoningDelta)]
                    said += words
                    self._pending += words
        except ImpetusError as error:
            self._end(said)
            self.flow.append([Paragraph(error.message, "bad", " ✗    ", "bad")])
            return
        except BaseException:
            self._end(said)
            if self._record is record:
                self.flow.append([Paragraph("stopped", "dim", " ⊘    ", "dim")])
            raise
        self._end(said)

    def _end(self, said: Sequence[Event]) -> None:
        """Shows the rest of a reply and keeps it for the next turn."""
        self._flushing.pause()
        self._flush()
        if said and self._messages:
            text, reasoning = _joined(said, TextDelta), _joined(said, ReasoningDelta)
            self._messages.append(Message("assistant", (TextPart(text),), reasoning=reasoning))
        self._write_titles()

    def _flush(self) -> None:
        """Shows the tokens that were gathered."""
        pending, self._pending = self._pending, []
        if not self._messages:
            return
        for thinking, events in groupby(pending, key=lambda event: isinstance(event, ReasoningDelta)):
            if thinking != self._thinking:
                self._thinking = thinking
                self.flow.append([Paragraph("", "dim", " ✻    ", "dim") if thinking else Paragraph("", "", "      ")])
            self.flow.extend("".join(event.text for event in events))

    def _write_titles(self) -> None:
        if not self.is_mounted:
            return
        self.flow.write_title(f"Chat with {self.model_id}" if self.model_id else "Chat")
        record = self._record
        if record is None:
            self.flow.write_subtitle("")
            return
        speed = f"{rate(record.decode_tps)} tok/s" if record.decode_tps is not None else "…"
        first = f" · first token after {duration(record.ttft_s)}" if record.ttft_s is not None else ""
        self.flow.write_subtitle(f"{record.stage} · {count(record.completion_tokens)} tokens · {speed}{first}")


def _joined(events: Sequence[Event], kind: type[TextDelta | ReasoningDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))
