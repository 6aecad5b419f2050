"""The command line: the dashboard, the server without it, and small commands for scripts."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .runtime.config import Config
from .runtime.errors import ConfigError, ImpetusError, InvalidRequest
from .runtime.home import Home, find_config, find_home
from .runtime.logbook import LogBook
from .runtime.loopback import is_loopback
from .tables import tell_gigabytes, tell_speed, write_json, write_table

if TYPE_CHECKING:
    from .hw.detector import HardwareDetector
    from .hw.probes.probe import Probe
    from .runtime.runtime import Runtime
    from .runtime.tuning.bench_result import BenchResult

MOST_CONTEXT = 1 << 24
LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Invocation:
    """What was typed, and the settings that hold for it."""

    options: argparse.Namespace
    home: Home
    config: Config
    config_path: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that was asked for; gives the exit code."""
    options = _parser().parse_args(arguments)
    home = find_home(os.environ.get("IMPETUS_HOME"))
    try:
        config, config_path = find_config(home, named=vars(options).get("config"), folder=Path.cwd())
        run: Callable[[Invocation], int] = options.run
        return run(Invocation(options, home, _apply(options, config), config_path))
    except ImpetusError as error:
        sys.stderr.write(f"impetus: {error.message}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    settings = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    settings.add_argument("--config", type=Path, metavar="FILE", help="read the settings from this file")
    settings.add_argument("--models-dir", metavar="DIR", help="the folder of downloaded models")
    serving = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    serving.add_argument("--host", metavar="H", help="the address to listen on (127.0.0.1)")
    serving.add_argument("--port", type=int, metavar="P", help="the port to listen on (8080); 0 picks a free one")
    serving.add_argument("--model", metavar="ID", help="the model to load at the start")
    serving.add_argument("--echo", action="store_true", help="add a model `echo` that repeats what it is told, for tests")
    serving.add_argument(
        "--scripted", action="store_true", help="add a model `scripted` that does what an able one would, for trying agents"
    )

    parser = argparse.ArgumentParser(
        prog="impetus", parents=[settings, serving], description="Serves local language models and shows what the machine does."
    )
    parser.add_argument("--version", action="version", version=f"impetus {version('impetus-llm')}")
    parser.set_defaults(run=_dashboard)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", description="without one, the dashboard opens")

    def add(
        name: str, run: Callable[[Invocation], int], text: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[settings, *parents], help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("serve", _serve, "serve without the dashboard", serving)
    add("ls", _ls, "list the models on this machine").add_argument("--json", action="store_true", help="as JSON")
    add("ps", _ps, "list the models in memory").add_argument("--json", action="store_true", help="as JSON")
    pull = add("pull", _pull, "download a model from the Hugging Face Hub (needs the internet)")
    pull.add_argument("reference", metavar="OWNER/REPO[:QUANTIZATION, FORMAT or FILE]")
    add("load", _load, "bring a model into the running server's memory").add_argument("model", metavar="ID")
    add("unload", _unload, "take a model out of the running server's memory").add_argument("model", metavar="ID")
    doctor = add("doctor", _doctor, "check this machine, and try each client's ways with the running server")
    doctor.add_argument("client", nargs="?", metavar="CLIENT", help="try this client alone, as cline or codex")
    doctor.add_argument("--url", metavar="URL", help="the server to try; without it, the one that runs here")
    doctor.add_argument("--model", metavar="ID", help="the model to try; without it, one that is in memory")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    hardware = add("hardware", _hardware, "show what this machine is and how hard it works, each fact with its source")
    hardware.add_argument("--replay", type=Path, metavar="RECORDING", help="of the machine in a recording instead")
    hardware.add_argument("--json", action="store_true", help="as JSON")
    plan = add("plan", _plan, "show how a model would be held here, and why: each decision with its reason")
    plan.add_argument("model", metavar="ID")
    predicted = add("predict", _predict, "say how fast a model will be here, what it takes and how long a context fits")
    predicted.add_argument("model", metavar="ID or OWNER/REPO[:QUANTIZATION, FORMAT or FILE]")
    predicted.add_argument("--context", type=int, default=16384, metavar="TOKENS", help="tokens before the next one (16384)")
    recommended = add("recommend", _recommend, "say which models suit this machine, and what another Mac would bring")
    recommended.add_argument("--task", choices=("chat", "code", "embed"), help="what for")
    recommended.add_argument("--search", metavar="WORDS", help="among what the Hub finds, instead (asks the internet)")
    bench = add("bench", _bench, "measure a model here, or compare two benchmarks: bench compare NUMBER NUMBER")
    bench.add_argument("what", nargs="+", metavar="ID", help="a model's id; or `compare` and two numbers")
    bench.add_argument(
        "--depths", type=_numbers, default=(128, 512, 2048), metavar="N,N", help="tokens of prompt (128,512,2048)"
    )
    bench.add_argument("--streams", type=_numbers, default=(1, 4), metavar="N,N", help="how many answers at once (1,4)")
    bench.add_argument("--tokens", type=int, default=64, metavar="N", help="tokens of each answer (64)")
    bench.add_argument("--sustain", type=float, default=0.0, metavar="S", help="write for so many seconds too, after a pause")
    bench.add_argument("--force", action="store_true", help="measure a hot, throttled or swapping machine too")
    bench.add_argument("--echo", action="store_true", help="offer the model `echo`, for tests")
    bench.add_argument("--json", action="store_true", help="as JSON")
    bench.add_argument("--markdown", action="store_true", help="as a card in Markdown")
    for command in (plan, predicted, recommended):
        command.add_argument("--replay", type=Path, metavar="RECORDING", help="on the machine in a recording instead")
        command.add_argument("--json", action="store_true", help="as JSON")
    cache = add("cache", _cache_ls, "list or delete the computed prompts on the disk")
    actions = cache.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("ls", parents=[settings], help="list what is kept of each model")
    listing.add_argument("--json", action="store_true", help="as JSON")
    clearing = actions.add_parser("clear", parents=[settings], help="delete all of it; servers go on without")
    clearing.set_defaults(run=_cache_clear)
    return parser


def _apply(options: argparse.Namespace, config: Config) -> Config:
    """Puts what the command line says over the settings."""
    replace = msgspec.structs.replace
    given = vars(options)
    server = replace(config.server, **{name: given[name] for name in ("host", "port") if name in given})
    models = config.models
    if "models_dir" in given:
        models = replace(models, dir=given["models_dir"])
    if "model" in given and options.run in (_dashboard, _serve):
        models = replace(models, default=given["model"], load_at_start=True)
    if not 0 <= server.port <= 65535:
        raise ConfigError(f"--port: must be from 0 to 65535, not {server.port}.")
    return replace(config, server=server, models=models)


def _dashboard(invocation: Invocation) -> int:
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        sys.stderr.write("impetus: the dashboard needs a terminal; `impetus serve` works without one.\n")
        return 2
    return _run(invocation, dashboard=True)


def _serve(invocation: Invocation) -> int:
    return _run(invocation, dashboard=False)


def _run(invocation: Invocation, *, dashboard: bool) -> int:
    from .__main__ import run_dashboard, run_server  # here and below: each command loads only what it needs

    server = invocation.config.server
    if not is_loopback(server.host) and not server.api_key:
        raise ConfigError(f"others could reach this server at {server.host}: set server.api_key in impetus.toml first.")
    runtime = _open_runtime(invocation, invocation.config, to_stderr=not dashboard)
    return asyncio.run(run_dashboard(runtime) if dashboard else run_server(runtime))


def _open_runtime(invocation: Invocation, config: Config, *, to_stderr: bool) -> Runtime:
    """Gives a runtime with these settings that is ready to be entered."""
    from .runtime.opening import open_runtime

    return open_runtime(
        config,
        home=invocation.home,
        config_path=invocation.config_path,
        logbook=_start_log(config, to_stderr=to_stderr),
        environment=os.environ,
        usable_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        echo=vars(invocation.options).get("echo", False),
        scripted="scripted" in invocation.options,
    )


def _start_log(config: Config, *, to_stderr: bool) -> LogBook:
    """Sends our log to the dashboard's pane, or to stderr where no dashboard draws on the terminal."""
    book = LogBook()
    logger = logging.getLogger("impetus")
    logger.setLevel(config.log.level.upper())
    logger.propagate = False
    logger.addHandler(book)
    if to_stderr:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    return book


def _ls(invocation: Invocation) -> int:
    from .runtime.advice import read_speeds
    from .runtime.models.listing import ModelLine
    from .runtime.models.model import ModelStatus
    from .runtime.opening import open_registry

    models = open_registry(invocation.config, invocation.home, os.environ).scan()
    speeds = read_speeds(invocation.config, invocation.home)
    lines = [ModelLine.of(status) for status in speeds.add_to([ModelStatus(model) for model in models])]
    if invocation.options.json:
        write_json(lines)
        return 0
    rows = [
        (
            f"{'└ ' if line.variant_of else ''}{line.id}",
            line.format,
            line.quantization or "?",
            tell_gigabytes(line.size_bytes),
            tell_speed(line.decode),
            line.store,
            line.problem or "",
        )
        for line in lines
    ]
    write_table(("MODEL", "FORMAT", "QUANT", "SIZE", "TOK/S", "WHERE", "PROBLEM"), rows)
    return 0


def _ps(invocation: Invocation) -> int:
    from .api.client import ControlClient

    with ControlClient(_server_url(invocation), api_key=invocation.config.server.api_key) as client:
        loaded = [model for model in client.status().models if model.state != "unloaded"]
    rows = [
        (model.id, model.state, str(model.context_length or "?"), str(model.running), str(model.pid or "")) for model in loaded
    ]
    return _show(invocation, loaded, ("MODEL", "STATE", "CONTEXT", "RUNNING", "PROCESS"), rows)


def _load(invocation: Invocation) -> int:
    from .api.client import ControlClient

    with ControlClient(_server_url(invocation), api_key=invocation.config.server.api_key) as client:
        client.load(invocation.options.model)
    return 0


def _unload(invocation: Invocation) -> int:
    from .api.client import ControlClient

    with ControlClient(_server_url(invocation), api_key=invocation.config.server.api_key) as client:
        client.unload(invocation.options.model)
    return 0


def _cache_ls(invocation: Invocation) -> int:
    from .runtime.prefix_files import list_models
    from .runtime.tuning.prefix_room import prefix_folder

    models = list_models(prefix_folder(invocation.home))
    if invocation.options.json:
        write_json(models)
        return 0
    rows = [
        (
            model.model or model.root,
            str(model.segments),
            "encrypted" if model.encrypted else "?" if model.tokens is None else str(model.tokens),
            tell_gigabytes(model.size_bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(model.used_at)),
        )
        for model in models
    ]
    write_table(("MODEL", "SEGMENTS", "TOKENS", "SIZE", "LAST USED"), rows)
    return 0


def _cache_clear(invocation: Invocation) -> int:
    from .runtime.prefix_files import clear
    from .runtime.tuning.prefix_room import prefix_folder

    files, size_bytes = clear(prefix_folder(invocation.home))
    sys.stdout.write(f"Deleted {files} {'file' if files == 1 else 'files'}, {tell_gigabytes(size_bytes)}.\n")
    return 0


def _doctor(invocation: Invocation) -> int:
    from .api.doctor.examine import examine

    options = vars(invocation.options)
    wanted = {name: options.get(name) for name in ("client", "url", "model")}
    checks = list(examine(invocation.config, invocation.home, os.environ, **wanted))
    if options["json"]:
        write_json(checks)
    else:
        rows = [(check.verdict.upper(), check.group, check.name, check.found) for check in checks]
        write_table(("RESULT", "WHERE", "WHAT", "FOUND"), rows)
        changes = dict.fromkeys(f"{check.group}, {check.name}: {check.change}" for check in checks if check.verdict == "fail")
        sys.stdout.write("".join(["\nWhat to change:\n", *(f"- {change}\n" for change in changes)]) if changes else "")
    return 1 if any(check.verdict == "fail" for check in checks) else 0


def _hardware(invocation: Invocation) -> int:
    from .hw.report import to_report, to_rows

    detector, probe = _detector(invocation)
    profile = detector.detect()
    sample = probe.read_sample(())
    if invocation.options.replay is None:
        time.sleep(LOOK_S)  # some figures are measured from look to look
        sample = probe.read_sample(())
    return _show(invocation, to_report(profile, sample), ("FACT", "VALUE", "SOURCE"), to_rows(profile, sample))


def _plan(invocation: Invocation) -> int:
    from .runtime.advice import report_plan

    profile = _detector(invocation)[0].detect()
    report = report_plan(invocation.config, invocation.home, os.environ, profile, invocation.options.model)
    rows = [(one.name, "–" if one.value is None else str(one.value), one.why) for one in report.decisions]
    return _show(invocation, report, ("DECISION", "VALUE", "WHY"), rows)


def _detector(invocation: Invocation) -> tuple[HardwareDetector, Probe]:
    """Gives what reads this machine, or the one in the recording that was named."""
    from .hw.detector import HardwareDetector
    from .hw.override import to_override
    from .hw.probes.choose import choose_probe, open_recording

    recording: Path | None = invocation.options.replay
    try:
        probe = open_recording(recording) if recording is not None else choose_probe()
    except OSError as error:
        raise InvalidRequest(f"{recording} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    # What is stated of this machine says nothing of a recorded one.
    override = to_override(invocation.config.hardware.stated()) if recording is None else None
    return HardwareDetector(probe, override), probe


def _predict(invocation: Invocation) -> int:
    from .hw.thermal import assume_headroom
    from .runtime.advice import find_header
    from .runtime.tuning.predict_report import to_prediction_report

    options = invocation.options
    if not 0 <= options.context <= MOST_CONTEXT:
        raise InvalidRequest(f"--context: must be from 0 to {MOST_CONTEXT}, not {options.context}.")
    name, header, engine = find_header(invocation.config, invocation.home, os.environ, options.model)
    detector, probe = _detector(invocation)
    sample = probe.read_sample(())
    headroom = assume_headroom(sample.thermal_level, low_power=sample.low_power_mode)
    share = invocation.config.memory.models_percent
    report = to_prediction_report(
        name, detector.detect(), header, options.context, engine, headroom=headroom, models_percent=share
    )
    return _show(invocation, report, ("WHAT", "PREDICTED"), report.rows())


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if not all(1 <= number <= MOST_CONTEXT for number in numbers):
        raise argparse.ArgumentTypeError("must be numbers from 1 upwards, with commas between")
    return numbers


def _bench(invocation: Invocation) -> int:
    from .runtime.tuning.bench_book import FILE_NAME, BenchBook
    from .runtime.tuning.bench_report import COMPARED, HEADS, to_card, to_comparison, to_footer, to_rows

    options = invocation.options
    book = BenchBook(invocation.home.state_dir / FILE_NAME)
    if options.what[0] == "compare":
        numbers = [part for part in options.what[1:] if part.isascii() and part.isdigit()]
        if len(numbers) != COMPARED or len(options.what) != COMPARED + 1:
            raise InvalidRequest("`impetus bench compare` takes the numbers of two benchmarks.")
        first, second = (book.get(int(number)) for number in numbers)
        heads = ("WHAT", numbers[0], numbers[1], "RATIO")
        return _show(invocation, [first, second], heads, to_comparison(first, second))
    if len(options.what) != 1:
        raise InvalidRequest("`impetus bench` takes one model.")
    result = book.add(asyncio.run(_run_bench(invocation)))
    if options.json:
        write_json(result)
    elif options.markdown:
        sys.stdout.write(to_card(result))
    else:
        write_table(HEADS, to_rows(result))
        sys.stdout.write(to_footer(result))
    return 0


async def _run_bench(invocation: Invocation) -> BenchResult:
    """Measures in a runtime of its own, and shows how far it came; Ctrl+C ends it."""
    from rich.console import Console
    from rich.progress import Progress

    from .runtime.tuning.bench import Bench, BenchPlan

    options = invocation.options
    plan = BenchPlan(options.depths, options.streams, max(2, options.tokens), max(0.0, options.sustain), options.force)
    quiet = msgspec.structs.replace(invocation.config.models, load_at_start=False)
    runtime = _open_runtime(invocation, msgspec.structs.replace(invocation.config, models=quiet), to_stderr=False)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(options.what[0], total=plan.steps + 1)

        def tell(step: str) -> None:
            progress.update(task, advance=1, description=f"{options.what[0]}: {step}")

        async with runtime:
            await runtime.scanned.wait()
            return await Bench(runtime, runtime.resolve(options.what[0]).id, plan, on_step=tell).run()


def _recommend(invocation: Invocation) -> int:
    from .runtime.advice import recommend_listed, recommend_searched
    from .runtime.tuning.recommend_rows import HEADS, to_lines, to_rows

    options = invocation.options
    profile = _detector(invocation)[0].detect()
    if options.search is None:
        found = recommend_listed(invocation.config, invocation.home, os.environ, profile, options.task)
    else:
        search = recommend_searched(invocation.config, invocation.home, os.environ, profile, options.search, options.task)
        found = asyncio.run(search)
    _show(invocation, found, HEADS, to_rows(found))
    if not options.json:
        sys.stdout.write("".join(f"{line}\n" for line in to_lines(found)))
    return 0


def _server_url(invocation: Invocation) -> str:
    from .runtime.presence import find_servers

    servers = find_servers(invocation.home.state_dir)
    if not servers:
        raise InvalidRequest("no server runs here; start one with `impetus` or `impetus serve`.")
    return servers[0].url


def _pull(invocation: Invocation) -> int:
    from .runtime.opening import models_folder

    return asyncio.run(
        _watch_pull(invocation.options.reference, models_folder(invocation.config, invocation.home), invocation.config)
    )


async def _watch_pull(reference: str, folder: Path, config: Config) -> int:
    """Downloads and shows how far it came; Ctrl+C ends it and keeps what came."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from .runtime.engines.choice import rank_format
    from .runtime.models.download import Downloads

    changed = asyncio.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    rank = partial(rank_format, prefer=config.engine.prefer)
    async with Downloads(folder, endpoint=config.hub.endpoint or None, on_change=changed.set, rank=rank) as downloads:
        download = downloads.pull(reference)
        with Progress(*columns) as progress:
            task = progress.add_task(reference, total=None)
            while not download.is_over:
                await changed.wait()
                changed.clear()
                download = downloads.get(download.id) or download
                progress.update(task, completed=download.done_bytes, total=download.total_bytes)
    if download.state == "done":
        return 0
    sys.stderr.write(f"impetus: {download.error or 'the download was cancelled'}\n")
    return 1


def _show(
    invocation: Invocation,
    value: msgspec.Struct | Sequence[msgspec.Struct],
    heads: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
) -> int:
    if invocation.options.json:
        write_json(value)
    else:
        write_table(heads, rows)
    return 0
