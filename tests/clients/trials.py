"""What goes wrong for each agent on purpose, and how each takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Outcome, run_client
from serving import read_requests, scripted_server
from setups import AGENTS

USUAL_LIMIT_S = 240
SLOW_S = 360
_WORK: Mapping[str, object] = {"stand_in": True}


@dataclass(frozen=True)
class Trial:
    """One thing that goes wrong."""

    turns: tuple[Mapping[str, object], ...] = ()
    """The script, turn by turn; without one the scripted model just works."""
    context_length: int = 0
    model: str = "scripted"
    limit_s: float = USUAL_LIMIT_S

    def task(self, task: str) -> str:
        """Puts the script behind a task."""
        return f"{task} SCRIPT: {json.dumps({'turns': self.turns})}" if self.turns else task


TRIALS = {
    "overflow": Trial(context_length=1000),
    "overflow-later": Trial((_WORK, {**_WORK, "fault": "overflow", "times": 1}, _WORK)),
    "unknown-model": Trial(model="no-such-model"),
    "busy-once": Trial(({**_WORK, "fault": "busy", "times": 1}, _WORK)),
    "busy": Trial(({**_WORK, "fault": "busy"},), limit_s=420),
    "crash-once": Trial(({**_WORK, "fault": "crash", "times": 1}, _WORK)),
    "crash": Trial(({**_WORK, "fault": "crash"},)),
    "slow": Trial(({**_WORK, "delay_s": SLOW_S}, _WORK), limit_s=SLOW_S + 120),
}
"""By name: no prompt fits, one in the middle does not fit once, and so on."""


@dataclass(frozen=True)
class Finding:
    """How an agent took a trial."""

    outcome: Outcome
    requests: list[dict[str, Any]]

    @property
    def asked(self) -> str:
        """Each request in short: how it ended, and its prompt's tokens where these are known."""
        return " ".join(f"{entry['stage']}:{entry['prompt_tokens'] or '-'}" for entry in self.requests)

    @property
    def told(self) -> bool:
        """Whether the words of one of the server's errors reached the agent's output."""
        plain = self.outcome.output.replace("\\", "")
        words = [entry["error"] for entry in self.requests if entry["error"]]
        return any(error[:40] in plain for error in words) or "prompt is too long" in plain


def try_agents(trial: Trial, names: list[str], *, folder: Path, task: str, proxy: int, together: int, content: str) -> int:
    """Tries agents, some at the same time, and prints how each took it; gives how many came to no end."""

    def run(name: str) -> Finding:
        return _try_agent(trial, name, folder / name, task, proxy)

    endless = 0
    with ThreadPoolExecutor(together) as pool:
        for name, finding in zip(names, pool.map(run, names), strict=True):
            outcome = finding.outcome
            endless += outcome.code is None
            ended = "no end" if outcome.code is None else f"exit {outcome.code}"
            notes = ["made" if outcome.made == content else "not made", "told" if finding.told else "not told"]
            print(f"{name:24} {ended:8} {outcome.took_s:5.1f} s  {', '.join(notes):18} {finding.asked}", flush=True)
    return endless


def _try_agent(trial: Trial, name: str, folder: Path, task: str, proxy: int) -> Finding:
    (folder / "server").mkdir(parents=True)
    folder.chmod(0o755)
    with scripted_server(folder / "server", context_length=trial.context_length) as root:
        outcome = run_client(
            folder / "client",
            AGENTS[name],
            root=root,
            model=trial.model,
            task=trial.task(task),
            proxy=proxy,
            limit_s=trial.limit_s,
        )
        return Finding(outcome, read_requests(root))
