"""How each model would be held: the plan by the machine, the settings and the names of this installation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..hw.profile import CapabilityProfile
from .config import Config
from .engines.choice import EngineChoice, EngineName, choose_engine, name_engine
from .errors import UnknownModel, UnservableModel
from .home import Home
from .models.model import Model
from .naming import Names
from .tuning.guessing import DraftModel
from .tuning.load_plan import Choice, LoadPlan
from .tuning.memory_budget import MemoryBudget, divide_memory, tell_size
from .tuning.plan import plan_load
from .tuning.wishes import NO_WISHES, LoadWishes


class PlannedChoice(msgspec.Struct, frozen=True):
    """One decision of a plan."""

    name: str
    value: str | int | float | bool | None
    """None leaves it to the engine."""
    why: str


class PlanReport(msgspec.Struct, frozen=True):
    """How a model would be held here, and why so."""

    model: str
    engine: str
    needed_bytes: int
    """Weights, context memory and scratch space, as estimated."""
    budget_bytes: int | None
    """What models may take together; None where the memory is unknown."""
    fits: bool | None
    decisions: list[PlannedChoice]


class Planner:
    """Plans loads. Everything it does looks at the disk, so it blocks.

    Args:
        config: the settings that hold.
        home: where computed prompts are kept.
        names: what `engine.draft_model` is looked up in.
    """

    def __init__(self, config: Config, home: Home, names: Names) -> None:
        self.config = config
        self.profile: CapabilityProfile | None = None
        """The machine; None until it has been read."""
        self.plans: Mapping[str, LoadPlan] = {}
        """What each model would be loaded with, by its id; of those that `plan_all` was told of."""
        self._home = home
        self._names = names

    @property
    def budget(self) -> MemoryBudget | None:
        """How the memory is divided; None where it is unknown."""
        return divide_memory(self.profile, models_percent=self.config.memory.models_percent)

    def choose(self, model: Model) -> EngineChoice:
        """Chooses the engine, or says why there is none."""
        return choose_engine(model.header, self.config.engine.prefer)

    def name_engine(self, model: Model) -> EngineName:
        """Names the engine that computes a model; the GGUF engine where none can."""
        return name_engine(model.header, self.config.engine.prefer)

    def plan(self, model: Model, wishes: LoadWishes = NO_WISHES, budget_bytes: int | None = None) -> LoadPlan:
        """Plans a load, for no more than so many bytes where that is a number, else for the models' share of the memory."""
        return plan_load(
            model,
            self.profile,
            wishes.over(self.config),
            home=self._home,
            draft=self._find_draft(),
            engine_name=self.name_engine(model),
            budget_bytes=budget_bytes,
        )

    def plan_all(self, models: Iterable[Model]) -> None:
        """Plans to load each of these as it would be without wishes."""
        self.plans = {model.id: self.plan(model) for model in models if model.problem is None}

    def report(self, model: Model) -> PlanReport:
        """Says how a model would be held, decision by decision. Raises UnservableModel where no engine runs it."""
        choice = self.choose(model)
        if model.problem is not None or choice.engine is None:
            raise UnservableModel(model.id, model.problem or choice.problem or "no engine runs it.")
        plan, budget = self.plan(model), self.budget
        choices = [Choice("engine", choice.engine, choice.reason or "no other runs it"), *plan.choices]
        needs = f"{tell_size(plan.needed_bytes)} for weights, contexts and room to compute in"
        if budget is not None:
            needs += f"; models may take {tell_size(budget.models_bytes)} together ({budget.why})"
        choices.append(Choice("memory", plan.needed_bytes, needs))
        return PlanReport(
            model.id,
            choice.engine,
            plan.needed_bytes,
            None if budget is None else budget.models_bytes,
            None if budget is None else plan.needed_bytes <= budget.models_bytes,
            [PlannedChoice(one.name, one.value, one.why) for one in choices],
        )

    def _find_draft(self) -> DraftModel | None:
        """Finds the model that guesses for others; None where the settings name none."""
        name = self.config.engine.draft_model
        if not name:
            return None
        try:
            return DraftModel(self._names.resolve(name))
        except UnknownModel as error:
            return DraftModel(None, error.message)
