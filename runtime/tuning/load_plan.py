"""What a plan is, and what is decided alike for every engine."""

from __future__ import annotations

from dataclasses import dataclass

from ...hw.profile import CapabilityProfile
from ..config import EngineConfig
from ..frames import LoadOptions

STEP_TARGET_CPU_S = 0.12
STEP_TARGET_GPU_S = 0.06


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision."""

    name: str
    """What is decided, as "context"."""
    value: str | int | float | bool | None
    """None leaves it to the engine."""
    why: str
    """One line for people."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How one model is loaded here, and why so."""

    options: LoadOptions
    needed_bytes: int
    """Weights, cache and scratch space together, as estimated; with those of the model that guesses for it."""
    choices: tuple[Choice, ...]
    """Every decision, in the order it was taken."""
    growth_bytes_per_token: int = 0
    """What one more token of context takes, where the context memory grows with what it holds."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is so, a line per decision."""
        return tuple(choice.why for choice in self.choices)


def step_target(profile: CapabilityProfile | None, config: EngineConfig) -> tuple[float, str]:
    """Decides how long a step may take that answers wait for, and says why."""
    if config.step_target_ms:
        return config.step_target_ms / 1000, f"steps of {config.step_target_ms:g} ms, as the settings say"
    if computes_on_gpu(profile, config):
        return STEP_TARGET_GPU_S, f"steps of {STEP_TARGET_GPU_S * 1000:g} ms, as the GPU computes"
    return STEP_TARGET_CPU_S, f"steps of {STEP_TARGET_CPU_S * 1000:g} ms, as the CPU computes"


def computes_on_gpu(profile: CapabilityProfile | None, config: EngineConfig) -> bool:
    """Whether layers are computed on a GPU: there is one, and the settings leave it to do."""
    return has_gpu(profile) and config.gpu_layers != 0


def has_gpu(profile: CapabilityProfile | None) -> bool:
    """Whether the machine has a GPU that engines compute on: its cores were counted, or it is a Mac with a chip of Apple's."""
    if profile is None or profile.gpu_cores is not None:
        return profile is not None
    virtual = profile.virtual_machine is not None and profile.virtual_machine.value
    return profile.generation is not None and profile.system.startswith("macOS") and not virtual
