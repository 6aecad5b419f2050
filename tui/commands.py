"""The command palette: whatever a key does, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from .format import clean
from .intents import CancelIntent, ModelIntent, ThemeIntent

if TYPE_CHECKING:
    from .app import ControlCenter


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of the palette."""

    name: str
    help: str
    run: Callable[[], object]
    binding_id: str | None = None
    """The binding that does the same."""


def pane_commands(app: ControlCenter) -> Iterator[Command]:
    """Gives what keys do inside a pane; the pane is opened first."""
    entries = (
        ("overview", "requests.explain", "Requests: explain", "Say where the prompt under the cursor came from", "explain"),
        ("overview", "overview.governors", "Overview: governors", "Say what is done about memory and heat", "governors"),
        ("overview", "overview.machine", "Overview: machine", "Say what this machine is", "machine"),
        ("models", "models.load", "Models: load", "Load the model under the cursor", "ask('load')"),
        ("models", "models.unload", "Models: unload", "Take the model under the cursor out of memory", "ask('unload')"),
        ("models", "models.switch", "Models: switch", "Unload all others and load the one under the cursor", "ask('switch')"),
        ("models", "models.chat", "Models: chat", "Talk to the model under the cursor", "ask('chat')"),
        ("downloads", "downloads.search", "Downloads: search the Hub", "Needs the internet", "search"),
        ("downloads", "downloads.pull", "Downloads: pull", "Download what is under the cursor", "pull"),
        ("downloads", "downloads.cancel", "Downloads: cancel", "End the download under the cursor", "cancel"),
        ("advice", "advice.task", "Advice: another task", "Models for chat, code, embeddings, or anything", "next_task"),
        ("advice", "advice.search", "Advice: search the Hub", "Models that suit; needs the internet", "search"),
        ("advice", "advice.load", "Advice: load", "Load the recommended model under the cursor", "load"),
        ("advice", "advice.pull", "Advice: pull", "Download the recommended model; needs the internet", "pull"),
        ("chat", "chat.stop", "Chat: stop", "Stop the reply", "stop"),
        ("chat", "chat.new", "Chat: new conversation", "Forget this one", "new"),
        ("chat", "chat.model", "Chat: next model", "Talk to another model", "next_model"),
        ("chat", "chat.write", "Chat: write", "Go to the field", "write"),
        ("settings", "settings.ollama_port", "Settings: Ollama's port", "Answer on 11434, or let go of it", "listen(11434)"),
        (
            "settings",
            "settings.lm_studio_port",
            "Settings: LM Studio's port",
            "Answer on 1234, or let go of it",
            "listen(1234)",
        ),
        ("log", "log.level", "Log: level", "Show more or fewer levels", "level"),
        ("log", "log.follow", "Log: follow", "Follow the end, or stay", "follow"),
    )
    for pane, binding_id, name, text, action in entries:
        yield Command(name, text, partial(app.run_in_pane, pane, action), binding_id)


def app_commands(app: ControlCenter) -> Iterator[Command]:
    """Gives what works everywhere."""
    for name, pane in app.pane_titles():
        yield Command(f"Go to {pane}", f"The {name} pane", partial(app.go_to, name), f"pane.{name}")
    yield Command("Next pane", "To the right", partial(app.step_pane, 1), "pane.next")
    yield Command("Previous pane", "To the left", partial(app.step_pane, -1), "pane.previous")
    yield Command(
        "Copy the endpoint", "The base URL for clients, to the clipboard", app.action_copy_endpoint, "app.copy_endpoint"
    )
    yield Command("Look for models again", "On the disk", app.action_rescan, "models.refresh")
    yield Command("Next theme", "Use it from now on", app.action_next_theme, "app.next_theme")
    for palette in app.palettes:
        yield Command(f"Theme: {palette.title}", "Use it from now on", partial(app.post_message, ThemeIntent(palette.name)))
    yield Command("Help", "What this pane is for, and all keys", app.action_help, "app.help")
    yield Command("Quit", "Stop serving and leave", app.action_quit, "app.quit")


def model_commands(app: ControlCenter) -> Iterator[Command]:
    """Gives load, unload, switch and chat for each model, where they make sense."""
    for status in app.runtime.statuses():
        model_id, name = status.model.id, clean(status.model.id)
        if status.model.problem is not None:
            continue
        if status.state in {"unloaded", "failed"}:
            yield Command(f"Load {name}", "Bring it into memory", partial(app.post_message, ModelIntent("load", model_id)))
        else:
            yield Command(f"Unload {name}", "Free its memory", partial(app.post_message, ModelIntent("unload", model_id)))
        yield Command(f"Switch to {name}", "Unload all others", partial(app.post_message, ModelIntent("switch", model_id)))
        yield Command(f"Chat with {name}", "In the chat pane", partial(app.post_message, ModelIntent("chat", model_id)))


def download_commands(app: ControlCenter) -> Iterator[Command]:
    """Gives a way to end each download that is under way."""
    for download in app.runtime.downloads():
        if download.state in {"queued", "checking", "downloading"}:
            intent = CancelIntent(download.id)
            yield Command(
                f"Cancel the download of {clean(download.reference)}", "It can go on later", partial(app.post_message, intent)
            )


def all_commands(app: ControlCenter) -> list[Command]:
    """Gives everything the palette offers now."""
    return [*model_commands(app), *app_commands(app), *pane_commands(app), *download_commands(app)]


class ControlCommands(Provider):
    """Offers the commands to Textual's palette."""

    async def discover(self) -> Hits:
        """Yields everything, for an empty search."""
        for command in self._commands():
            yield DiscoveryHit(Content(command.name), command.run, text=command.name, help=command.help)

    async def search(self, query: str) -> Hits:
        """Yields what fits a search."""
        matcher = self.matcher(query)
        for command in self._commands():
            score = matcher.match(command.name)
            if score > 0:
                yield Hit(score, matcher.highlight(command.name), command.run, text=command.name, help=command.help)

    def _commands(self) -> list[Command]:
        from .app import ControlCenter

        return all_commands(self.app) if isinstance(self.app, ControlCenter) else []
