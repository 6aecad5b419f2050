"""What the command line tells of models while no server runs: how they would be held, how fast they are, which ones suit.

Apart from what opens a runtime, as a start should not pay for its imports. It looks at the disk or asks the Hub, so it blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..hw.detector import HardwareDetector
from ..hw.override import to_override
from ..hw.probes.choose import choose_probe
from ..hw.profile import CapabilityProfile
from .config import Config
from .engines.choice import EngineName, name_engine, rank_format
from .errors import UnknownModel
from .formats.header import Header
from .home import Home
from .made_aliases import FILE_NAME as MADE_ALIASES
from .made_aliases import MadeAliases
from .models.hub import Hub
from .models.hub_header import read_remote_header
from .models.recommended import Task, read_list
from .naming import Names
from .opening import open_registry
from .planner import Planner, PlanReport
from .tuning.measured import FILE_NAME as SPEEDS
from .tuning.measured import SpeedBook
from .tuning.recommend import Recommendations
from .tuning.recommend_here import mark_on_disk, recommend_here
from .tuning.recommend_search import recommend_found
from .tuning.speeds import KnownSpeeds


def read_speeds(config: Config, home: Home) -> KnownSpeeds:
    """Gives what is known of models' speeds on this machine."""
    probe = choose_probe()
    profile, sample = HardwareDetector(probe, to_override(config.hardware.stated())).detect(), probe.read_sample(())
    speeds = KnownSpeeds(
        SpeedBook(home.state_dir / SPEEDS),
        profile=lambda: profile,
        choose_engine=lambda model: name_engine(model.header, config.engine.prefer),
        sample=lambda: sample,
    )
    speeds.read()
    return speeds


def find_header(config: Config, home: Home, environment: Mapping[str, str], name: str) -> tuple[str, Header, EngineName]:
    """Finds what is known of a model here, in the shipped list or on the Hub.

    Returns:
        Its id or name, its header, and the engine that would compute it here.

    Raises:
        UnknownModel: there is none of this name here, and it is not one of the Hub's.
        DownloadError: the Hub does not tell.
    """
    try:
        model = _scan(config, home, environment).resolve(name)
        name, header = model.id, model.header
    except UnknownModel:
        shipped = read_list()
        listed = next((model for model in shipped.models if model.name.casefold() == name.casefold()), None)
        if listed is not None:
            name, header = listed.name, listed.header(listed.quantizations[-1], shipped.bits)
        elif "/" in name:
            rank = partial(rank_format, prefer=config.engine.prefer)
            header = read_remote_header(name, endpoint=config.hub.endpoint or None, rank=rank)
        else:
            raise
    return name, header, name_engine(header, config.engine.prefer)


def report_plan(
    config: Config, home: Home, environment: Mapping[str, str], profile: CapabilityProfile, name: str
) -> PlanReport:
    """Says how a model would be held on a machine, decision by decision.

    Raises:
        UnknownModel: there is none of this name.
        UnservableModel: no engine runs it.
    """
    names = _scan(config, home, environment)
    planner = Planner(config, home, names)
    planner.profile = profile
    return planner.report(names.resolve(name))


def recommend_listed(
    config: Config, home: Home, environment: Mapping[str, str], profile: CapabilityProfile, task: Task | None
) -> Recommendations:
    """Recommends from the shipped list, and says which models of it are on the disk."""
    models = open_registry(config, home, environment).scan()
    return recommend_here(models, profile, task, models_percent=config.memory.models_percent)


async def recommend_searched(
    config: Config,
    home: Home,
    environment: Mapping[str, str],
    profile: CapabilityProfile,
    words: str,
    task: Task | None,
) -> Recommendations:
    """Recommends from what the Hub finds for some words; asks the internet, and raises DownloadError."""
    hub = Hub(endpoint=config.hub.endpoint or None, rank=partial(rank_format, prefer=config.engine.prefer))
    found = await recommend_found(hub, profile, words, task, models_percent=config.memory.models_percent)
    return mark_on_disk(found, open_registry(config, home, environment).scan())


def _scan(config: Config, home: Home, environment: Mapping[str, str]) -> Names:
    """Looks through the stores; gives the names of what is there."""
    registry = open_registry(config, home, environment)
    registry.scan()
    names = Names(registry, config.aliases, MadeAliases(home.state_dir / MADE_ALIASES))
    names.read_made()
    return names
