"""Lets real clients do a task against a server of this checkout, each once, and says how it went.

    .venv/bin/python tests/clients/run.py [--only cline,codex] [--server http://127.0.0.1:8080 --model ID] [--limit 300]

    .venv/bin/python tests/clients/run.py --trial crash-once [--only cline,codex] [--together 2]

Without `--server` it starts one with the scripted model. Agents are to create a file; libraries only ask. A client whose
packages cannot be fetched is left out, and said. The exit code is 1 where one failed. With `--trial` something goes wrong on
purpose, with a server for each agent, and what each made of it is printed: the exit code is 1 where one came to no end.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from installs import NotInstalled, clients_home
from sandbox import Outcome, refusing_proxy, run_client
from serving import scripted_server
from setups import AGENTS, LIBRARIES
from trials import TRIALS, try_agents

TASK = "Create a file named hello.txt with content hi-impetus"
CONTENT = "hi-impetus"
_ERROR = re.compile(r".*(?:error|failed|assert).*", re.IGNORECASE)


def main() -> int:
    """Runs the clients that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of clients, with commas between")
    parser.add_argument("--server", help="a server that runs already")
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a client may take")
    parser.add_argument("--tries", type=int, default=1, help="how often a client may fail but the last time")
    parser.add_argument("--list", action="store_true", help="only name the clients")
    parser.add_argument("--trial", choices=list(TRIALS), help="what goes wrong on purpose, for the agents")
    parser.add_argument("--together", type=int, default=2, help="how many agents are tried at the same time")
    parser.add_argument("--keep", type=Path, help="a new folder that the logs of trials stay in")
    options = parser.parse_args()
    known = AGENTS | LIBRARIES
    if options.list:
        print("\n".join(known))
        return 0
    names = options.only.split(",") if options.only else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no client {', '.join(unknown)}; there are {', '.join(known)}")
    clients_home().mkdir(parents=True, exist_ok=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="impetus-clients-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        if options.trial:
            names = [name for name in names if name in AGENTS]
            with refusing_proxy() as proxy:
                trial, place = TRIALS[options.trial], options.keep or Path(folder)
                endless = try_agents(
                    trial, names, folder=place, task=TASK, proxy=proxy, together=options.together, content=CONTENT
                )
            return 1 if endless else 0
        given = options.server and nullcontext(options.server.rstrip("/").removesuffix("/v1"))
        with given or scripted_server(Path(folder)) as root, refusing_proxy() as proxy:
            for name in names:
                try:
                    problems = _try(
                        name,
                        lambda name=name: run_client(
                            Path(folder) / name,
                            known[name],
                            root=root,
                            model=options.model,
                            task=TASK,
                            proxy=proxy,
                            limit_s=options.limit,
                        ),
                        tries=options.tries,
                    )
                except NotInstalled as error:
                    print(f"left out  {name:24} {error}", flush=True)
                    continue
                failed += len(problems) == options.tries
                shutil.rmtree(Path(folder) / name, ignore_errors=True)
    print(f"{failed} of {len(names)} clients failed")
    return 1 if failed else 0


def _try(name: str, run: Callable[[], Outcome], *, tries: int) -> list[str]:
    """Runs a client until it did its task; prints each run, and gives what went wrong in those before."""
    problems: list[str] = []
    while len(problems) < tries:
        outcome = run()
        problem = _problem(name, outcome)
        print(f"{'passed' if problem is None else 'FAILED':9} {name:24} {outcome.took_s:5.1f} s  {problem or ''}", flush=True)
        if problem is None:
            break
        problems.append(problem)
    return problems


def _problem(name: str, outcome: Outcome) -> str | None:
    """Says what went wrong in a run; None where nothing did."""
    if outcome.code is None:
        return "it came to no end"
    if outcome.code != 0:
        lines = [line for line in outcome.output.splitlines() if line.strip()]
        told = [line for line in lines if _ERROR.match(line)] or lines or ["it said nothing"]
        return f"exit code {outcome.code}: {told[-1][-300:]}"
    if name in AGENTS and outcome.made != CONTENT:
        return f"hello.txt holds {outcome.made!r}"
    return None


if __name__ == "__main__":
    sys.exit(main())
