"""The control center: one screen over a runtime and a server that it neither opens nor closes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import ClassVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.dom import DOMNode
from textual.screen import Screen

from ..runtime.config import TomlValue
from ..runtime.errors import ImpetusError
from .commands import ControlCommands
from .format import clean
from .governor_views import SHOWN_DECISIONS, governor_facts
from .intents import (
    CancelIntent,
    ExplainIntent,
    GovernorsIntent,
    ListenIntent,
    MachineIntent,
    ModelIntent,
    PullIntent,
    ThemeIntent,
)
from .machine_views import machine_details
from .screens.chat import ChatPane
from .screens.control import PANES, ControlScreen
from .screens.dialogs import FactsScreen, HelpScreen
from .screens.explain import ExplainScreen
from .source import Endpoint, Source
from .theming import DEFAULT_THEME, read_palettes
from .views import download_facts, request_facts
from .widgets.bars import KeyBar
from .widgets.table import Table

log = logging.getLogger(__name__)

_THEMES = Path(__file__).parent.parent / "themes"


class ControlCenter(App[None]):
    """Turns keys, clicks and commands into calls of the runtime; what comes of them arrives through the bridge."""

    TITLE = "Impetus"
    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = [
        _THEMES / f"{name}.tcss" for name in ("app", "widgets", "overview", "panes", "dialogs")
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-normal"), (160, "-wide")]  # noqa: RUF012  # As Textual types it.
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-medium"), (50, "-tall")]  # noqa: RUF012
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {ControlCommands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", id="app.help", tooltip="What this pane is for, and all keys"),
        Binding("ctrl+p", "command_palette", "Commands", id="app.palette", priority=True, tooltip="Every action by its name"),
        Binding("t", "next_theme", "Theme", id="app.next_theme", tooltip="Use the next theme"),
        Binding("y", "copy_endpoint", "Copy URL", id="app.copy_endpoint", tooltip="Copy the base URL for clients"),
        Binding("q", "quit", "Quit", id="app.quit", tooltip="Stop serving and leave"),
        Binding(
            "ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit_anywhere", tooltip="Leave, from a text field too"
        ),
    ]

    def __init__(self, runtime: Source, server: Endpoint) -> None:
        # Textual asks for our variables while it is being built.
        self.palettes = read_palettes()
        super().__init__()
        self.runtime = runtime
        self.server = server
        self.painted = asyncio.Event()
        """Set once the first frame is on the terminal; what can wait until then does."""
        self.animation_level = "none"
        for palette in self.palettes:
            self.register_theme(palette.to_theme())
        wanted = runtime.config.dashboard.theme
        self.theme = wanted if wanted in self.available_themes else DEFAULT_THEME
        self.set_keymap(runtime.config.dashboard.keys)

    def on_ready(self) -> None:
        """Lets go what waits for the first frame."""
        self.call_after_refresh(self.painted.set)

    @property
    def control(self) -> ControlScreen:
        """The main screen, below any dialog."""
        return next(screen for screen in self.screen_stack if isinstance(screen, ControlScreen))

    def get_default_screen(self) -> Screen[None]:
        """Makes the main screen."""
        return ControlScreen(self.runtime, self.server, self.palettes, self.get_key_display)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Gives our own variables to Textual's themes, which do not state them."""
        return dict(self.palettes[0].variables)

    def get_system_commands(self, screen: Screen[object]) -> Iterator[SystemCommand]:  # noqa: ARG002
        """Leaves all commands to our own provider."""
        yield from ()

    def pane_titles(self) -> list[tuple[str, str]]:
        """Gives the panes' names and titles, in order."""
        return [(name, pane.TITLE) for name, pane in PANES.items()]

    async def go_to(self, pane: str) -> None:
        """Shows a pane."""
        await self.control.show_pane(pane)

    async def step_pane(self, step: int) -> None:
        """Shows a neighbouring pane."""
        await self.control.step_pane(step)

    async def run_in_pane(self, pane: str, action: str) -> None:
        """Shows a pane and does there what one of its keys does."""
        await self.control.show_pane(pane)
        await self.run_action(action, self.control.pane)

    @on(ModelIntent)
    def act_on_model(self, event: ModelIntent) -> None:
        """Does what was asked with a model; what goes wrong becomes a notification."""
        runtime, model_id = self.runtime, event.model_id
        match event.verb:
            case "load":
                self.attempt(partial(runtime.load, model_id), "Loading failed")
            case "unload":
                self.attempt(partial(runtime.unload, model_id), "Unloading failed")
            case "switch":
                self.attempt(partial(runtime.switch, model_id), "Switching failed")
            case "chat":
                self.attempt(partial(self._chat_with, model_id), "Chat")

    @on(KeyBar.Pressed)
    def press_clicked(self, event: KeyBar.Pressed) -> None:
        """Does what the clicked key does."""
        self.simulate_key(event.name)

    def watch_theme(self, name: str) -> None:
        """Tells the settings."""
        if self.screen_stack:
            self.control.theme_name = name

    @on(PullIntent)
    def begin_download(self, event: PullIntent) -> None:
        """Begins a download."""

        async def pull() -> None:
            self.runtime.pull(event.reference)
            self.notify(clean(event.reference), title="Download begun", markup=False)

        self.attempt(pull, "The download could not begin")

    @on(CancelIntent)
    def end_download(self, event: CancelIntent) -> None:
        """Ends a download."""

        async def cancel() -> None:
            self.runtime.cancel_download(event.download_id)

        self.attempt(cancel, "The download could not be ended")

    @on(ThemeIntent)
    def use_theme(self, event: ThemeIntent) -> None:
        """Uses a theme and writes it to the settings."""
        self.theme = event.name
        write = partial(asyncio.to_thread, self.runtime.write_setting, "dashboard", "theme", event.name)
        self.attempt(write, "The theme is used, but could not be written to the settings")

    @on(ListenIntent)
    def switch_port(self, event: ListenIntent) -> None:
        """Answers on a further port or lets go of it, and writes that to the settings."""
        on = all(extra.port != event.port for extra in self.server.extra_ports())

        async def switch() -> None:
            await self.server.also_listen(event.port, on=on)
            ports: list[TomlValue] = [extra.port for extra in self.server.extra_ports()]
            await asyncio.to_thread(self.runtime.write_setting, "server", "also_listen", ports)

        self.attempt(switch, f"Port {event.port}")

    @on(Table.Selected, "#requests")
    def show_request(self, event: Table.Selected) -> None:
        """Shows all that is known of a request."""
        record = self.runtime.journal.find(event.key)
        if record is not None:
            self.push_screen(FactsScreen(f"Request {record.id}", partial(request_facts, record)))

    @on(ExplainIntent)
    def explain_request(self, event: ExplainIntent) -> None:
        """Says where a request's prompt came from."""
        record = self.runtime.journal.find(event.request_id)
        if record is not None:
            self.push_screen(ExplainScreen(record))

    @on(GovernorsIntent)
    def show_governors(self) -> None:
        """Says what is done about memory and heat, and what was decided of late."""
        governors = self.runtime.governors
        self.push_screen(
            FactsScreen(
                "What the governors do",
                lambda: governor_facts(governors.statuses(), governors.decisions.newest(SHOWN_DECISIONS)),
            )
        )

    @on(MachineIntent)
    def show_machine(self) -> None:
        """Says what this machine is, and where each fact comes from."""
        self.push_screen(FactsScreen("This machine", lambda: machine_details(self.runtime.profile)))

    @on(Table.Selected, "#transfers")
    def show_download(self, event: Table.Selected) -> None:
        """Shows all that is known of a download."""
        download = next((each for each in self.runtime.downloads() if each.id == event.key), None)
        if download is not None:
            self.push_screen(FactsScreen("Download", partial(download_facts, download)))

    def action_help(self) -> None:
        """Explains the pane and lists the keys."""
        pane = self.control.pane
        keys: dict[str, tuple[list[str], str]] = {}
        # What belongs to the pane comes before what works everywhere, and that before the keys of every list.
        order: dict[DOMNode, int] = {pane: 0, self: 1}
        for active in sorted(self.screen.active_bindings.values(), key=lambda active: order.get(active.node, 2)):
            binding = active.binding
            if binding.tooltip and binding.id:
                keys.setdefault(binding.id, ([], binding.tooltip))[0].append(self.get_key_display(binding))
        self.push_screen(
            HelpScreen(f"Help · {pane.TITLE}", pane.HELP or "", [(" ".join(names), text) for names, text in keys.values()])
        )

    def action_next_theme(self) -> None:
        """Uses the palette after the present one."""
        names = [palette.name for palette in self.palettes]
        at = names.index(self.theme) if self.theme in names else -1
        self.post_message(ThemeIntent(names[(at + 1) % len(names)]))

    def action_copy_endpoint(self) -> None:
        """Copies what clients want as their base URL."""
        if self.server.url is None:
            self.notify("The server does not serve.", severity="warning", markup=False)
            return
        address = f"{self.server.url}/v1"
        self.copy_to_clipboard(address)
        self.notify(address, title="Copied", markup=False)

    def action_rescan(self) -> None:
        """Looks for models on the disk again."""

        async def rescan() -> None:
            await self.runtime.rescan()
            self.notify(f"{len(self.runtime.statuses())} models", title="Looked again", markup=False)

        self.attempt(rescan, "The models could not be read")

    @work(group="attempts", exit_on_error=False)
    async def attempt(self, act: Callable[[], Awaitable[None]], failing: str) -> None:
        """Does something that may fail, and says so in words."""
        try:
            await act()
        except ImpetusError as error:
            self.notify(clean(error.message), title=failing, severity="error", timeout=12, markup=False)
        except Exception as error:
            log.exception("%s", failing)
            self.notify(clean(f"{type(error).__name__}: {error}"), title=failing, severity="error", timeout=12, markup=False)

    async def _chat_with(self, model_id: str) -> None:
        await self.run_in_pane("chat", "write")
        self.control.query_one(ChatPane).model_id = model_id
