"""The one main screen: bars at the edges, a pane between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual import getters, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.reactive import reactive
from textual.screen import Screen

from ..bridge import BEATS, Bridge
from ..format import bar
from ..messages import DownloadsChanged, LogChanged, ModelsChanged, RatesChanged, RequestsChanged, Sampled, ServerChanged
from ..source import Endpoint, Source
from ..theming import Palette
from ..views import LOADING_BAR, machine_facts, machine_notices
from ..widgets.bars import KeyBar, KeyHint, Notice, Tab, TabBar, TitleBar
from ..widgets.lines import TONES
from ..words import SERVER, model_word
from .advice import AdvicePane
from .chat import ChatPane
from .downloads import DownloadsPane
from .log import LogPane
from .models import ModelsPane
from .overview import OverviewPane
from .pane import Pane
from .settings import SettingsPane

PANES: Final[dict[str, type[Pane]]] = {
    "overview": OverviewPane,
    "models": ModelsPane,
    "downloads": DownloadsPane,
    "chat": ChatPane,
    "log": LogPane,
    "settings": SettingsPane,
    "advice": AdvicePane,
}
"""In the order of their keys."""


class ControlScreen(Screen[None]):
    """Owns the bridge, hands what it tells to the bars and to the pane that is seen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONES)
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(key), f"show_pane('{name}')", pane.TITLE, show=False, id=f"pane.{name}", tooltip=f"To the {name} pane")
            for key, (name, pane) in enumerate(PANES.items(), 1)
        ),
        Binding("right_square_bracket", "step_pane(1)", "Next pane", show=False, id="pane.next", tooltip="To the next pane"),
        Binding(
            "left_square_bracket", "step_pane(-1)", "Last pane", show=False, id="pane.previous", tooltip="To the pane before"
        ),
        Binding("tab", "app.focus_next", "Next field", show=False, id="focus.next", tooltip="To the next part of the pane"),
        Binding(
            "shift+tab", "app.focus_previous", "Field before", show=False, id="focus.previous", tooltip="To the part before"
        ),
    ]

    title_bar = getters.query_one("#title", TitleBar)
    tab_bar = getters.query_one("#tabs", TabBar)
    notice = getters.query_one("#notice", Notice)
    key_bar = getters.query_one("#keys", KeyBar)

    current = reactive("overview", init=False, repaint=False)
    """The name of the pane that is seen."""

    theme_name = reactive("", init=False, repaint=False)

    def __init__(
        self, source: Source, endpoint: Endpoint, palettes: Sequence[Palette], display_key: Callable[[Binding], str]
    ) -> None:
        super().__init__()
        self._display_key = display_key
        self.set_reactive(ControlScreen.theme_name, source.config.dashboard.theme)
        self._source = source
        self._endpoint = endpoint
        self._palettes = tuple(palettes)
        self._bridge = Bridge(source, endpoint, self.post_message)
        self._seen_errors = 0
        self._pane_keys: dict[str, str] = {}

    @property
    def pane(self) -> Pane:
        """The pane that is seen."""
        return self.query_one(f"#{self.current}", Pane)

    def compose(self) -> ComposeResult:
        """Puts the bars around the first pane; the others are made when they are first looked at."""
        yield TitleBar(id="title")
        yield TabBar(id="tabs")
        yield Notice(id="notice")
        with Container(id="panes"):
            yield self._make_pane("overview")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Shows what is known at once, and begins to listen after the first paint."""
        # Textual leaves the type of the screen in this signal open.
        self.bindings_updated_signal.subscribe(self, lambda _screen: self._show_keys())  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType]
        self.call_after_refresh(self._start)

    def on_unmount(self) -> None:
        """Ends listening."""
        self._bridge.close()

    def watch_theme_name(self, name: str) -> None:
        """Hands on which theme is used."""
        for pane in self.query(SettingsPane):
            pane.theme_name = name

    async def show_pane(self, name: str) -> None:
        """Brings a pane into view, and makes it if this is the first time."""
        if not self.query(f"#{name}"):
            await self.query_one("#panes", Container).mount(self._make_pane(name))
        for pane in self.query(Pane):
            pane.display = pane.id == name
        self.current = name
        self.pane.query_one(self.pane.FOCUS).focus()
        self.pane.show_all()
        if name == "log":
            self._seen_errors = self._count_errors()
        self._show_tabs()

    async def step_pane(self, step: int) -> None:
        """Goes to a neighbouring pane."""
        names = list(PANES)
        await self.show_pane(names[(names.index(self.current) + step) % len(names)])

    async def action_show_pane(self, name: str) -> None:
        """Goes to a pane."""
        await self.show_pane(name)

    async def action_step_pane(self, step: int) -> None:
        """Goes to a neighbouring pane."""
        await self.step_pane(step)

    @on(TabBar.Chosen)
    async def go_to_clicked(self, event: TabBar.Chosen) -> None:
        """Goes to the pane that was clicked."""
        await self.show_pane(event.pane)

    @on(Sampled)
    def take_sample(self) -> None:
        """Hands on a reading of the machine."""
        self.pane.sample_changed()

    @on(RequestsChanged)
    def take_requests(self) -> None:
        """Hands on news of requests."""
        self.pane.requests_changed()

    @on(RatesChanged)
    def take_rates(self) -> None:
        """Hands on another second of throughput."""
        self.pane.rates_changed()

    @on(ModelsChanged)
    def take_models(self) -> None:
        """Hands on news of models; they change the title, the names of the panes and the notice too."""
        self._show_title()
        self._show_tabs()
        self._show_notice()
        self.pane.models_changed()

    @on(DownloadsChanged)
    def take_downloads(self) -> None:
        """Hands on news of downloads."""
        self.pane.downloads_changed()

    @on(LogChanged)
    def take_log(self) -> None:
        """Hands on new lines of the log, and counts errors nobody has seen."""
        if self.current == "log":
            self._seen_errors = self._count_errors()
        self._show_tabs()
        self.pane.log_changed()

    @on(ServerChanged)
    def take_server(self) -> None:
        """Shows where the server stands."""
        self._show_title()
        self._show_notice()
        self.pane.server_changed()

    def _start(self) -> None:
        self._bridge.open()
        self._show_title()
        self._show_notice()
        self._seen_errors = self._count_errors()
        self._show_tabs()
        self._show_keys()
        self.pane.query_one(self.pane.FOCUS).focus()
        self.pane.show_all()
        self.set_interval(self._source.config.dashboard.refresh_s / BEATS, self._bridge.beat)

    def _make_pane(self, name: str) -> Pane:
        if name == "settings":
            pane = SettingsPane(self._source, self._endpoint, self._palettes, id=name)
            pane.theme_name = self.theme_name
            return pane
        return PANES[name](self._source, self._endpoint, id=name)

    def _show_title(self) -> None:
        self.title_bar.machine = machine_facts(self._source.profile)
        self.title_bar.state = SERVER[self._endpoint.state]
        self.title_bar.endpoint = f"{self._endpoint.url}/v1" if self._endpoint.url else ""

    def _show_tabs(self) -> None:
        statuses, downloads = self._source.statuses(), self._source.downloads()
        ready = sum(status.state == "ready" for status in statuses)
        failed = sum(status.state == "failed" for status in statuses)
        active = sum(download.state in {"queued", "checking", "downloading"} for download in downloads)
        errors = self._count_errors() - self._seen_errors
        badges = {
            "models": " ".join(part for part in (f"●{ready}" if ready else "", f"✗{failed}" if failed else "") if part),
            "downloads": f"↓{active}" if active else "",
            "log": f"✗{errors}" if errors > 0 else "",
        }
        # A text field takes the keys of letters and digits away for as long as it has the focus.
        self._pane_keys.update({active.binding.id: key for key, active in self.active_bindings.items() if active.binding.id})
        self.tab_bar.tabs = tuple(
            Tab(name, pane.TITLE, self._pane_keys.get(f"pane.{name}", ""), badges.get(name, "")) for name, pane in PANES.items()
        )
        self.tab_bar.active = self.current

    def _show_notice(self) -> None:
        """Picks what needs attention most."""
        items: list[tuple[str, str]] = []
        if self._endpoint.state == "failed":
            items.append((f"✗ No client can connect: {self._endpoint.problem or 'unknown reason'}", "bad"))
        statuses = self._source.statuses()
        items += [
            (f"✗ {status.failure or f'{status.model.id} failed'}", "bad") for status in statuses if status.state == "failed"
        ]
        items += [
            (" ".join(filter(None, (model_word(status)[0], bar(status.progress, LOADING_BAR), status.model.id))), "warn")
            for status in statuses
            if status.state == "loading"
        ]
        self.notice.items = (*items, *machine_notices(self._source.profile))

    def _show_keys(self) -> None:
        shown: dict[str, KeyHint] = {}
        for key, active in self.active_bindings.items():
            binding = active.binding
            if binding.show and binding.action not in shown:
                shown[binding.action] = KeyHint(self._display_key(binding), binding.description, key)
        self.key_bar.hints = tuple(shown.values())

    def _count_errors(self) -> int:
        return sum(line.level >= 40 for line in self._source.logbook.lines)
