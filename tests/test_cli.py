import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from crafted_gguf import make_gguf
from hub_stand_in import HubStandIn, Repo
from tiny_models import tiny_llama

from impetus.runtime.frames import PrefixOptions
from impetus.runtime.worker.prefix.segments import root_key
from impetus.runtime.worker.prefix.store import PrefixStore

IMPETUS = str(Path(sys.executable).with_name("impetus"))


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "IMPETUS_"))}
    return {**kept, "IMPETUS_HOME": str(home), "CI": "true", "XDG_CACHE_HOME": str(home / "nothing"), **more}


def impetus(home: Path, *arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [IMPETUS, *arguments], env=environment(home, **more), cwd=cwd or home, capture_output=True, text=True, timeout=180
    )


@contextlib.contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [IMPETUS, "serve", "--port", "0", "--models-dir", str(home / "models"), *arguments]
    with subprocess.Popen(
        command, env=environment(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Impetus is serving at http://127.0.0.1:"), line
            yield line.rsplit(" ", 1)[-1].strip(), process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def post(url: str, body: object) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_serve_answers_at_once_and_leaves_cleanly_on_sigterm(tmp_path: Path) -> None:
    with serving(tmp_path, "--echo", "--model", "echo") as (url, process):
        status, answer = post(
            f"{url}/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "hello there"}]}
        )
        assert status == 200
        assert "hello there" in json.loads(answer)["choices"][0]["message"]["content"]
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "")
        assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list((tmp_path / "state").iterdir()) == []


def test_a_killed_server_leaves_no_engine_behind(tmp_path: Path) -> None:
    with serving(tmp_path, "--echo", "--model", "echo") as (url, process):
        post(f"{url}/v1/completions", {"model": "echo", "prompt": "x"})
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        process.wait(timeout=20)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []


def test_ps_load_and_unload_reach_the_running_server(tmp_path: Path) -> None:
    (tmp_path / "impetus.toml").write_text("[models]\nstarter = false\n")
    with serving(tmp_path, "--echo"):
        assert impetus(tmp_path, "load", "echo").returncode == 0
        (loaded,) = json.loads(impetus(tmp_path, "ps", "--json").stdout)
        assert (loaded["id"], loaded["state"]) == ("echo", "ready")
        assert "echo" in impetus(tmp_path, "ps").stdout
        assert impetus(tmp_path, "unload", "echo").returncode == 0
        assert json.loads(impetus(tmp_path, "ps", "--json").stdout) == []
        wrong = impetus(tmp_path, "load", "ecco")
        assert wrong.returncode == 1
        assert "Did you mean 'echo'" in wrong.stderr


def keep_prompts(home: Path, label: str, *, sealed: bool = False) -> None:
    folder = home / "cache" / "prefix"
    options = PrefixOptions(
        disk_dir=str(folder), disk_max_bytes=1 << 30, key_path=str(home / "state" / "prefix.key") if sealed else None
    )
    store = PrefixStore(options, root=root_key(label.encode()), cuttable=True, label=label)
    tokens = list(range(600))
    for begin, end in store.missing(tokens):
        store.put(tokens, begin, end, bytes(5_000_000))
    assert store.flush(30)
    store.close(30)


def test_cache_lists_and_deletes_what_is_kept_of_prompts(tmp_path: Path) -> None:
    assert json.loads(impetus(tmp_path, "cache", "ls", "--json").stdout) == []
    for label in ("coder-7b", "tiny"):
        keep_prompts(tmp_path, label)
    listed = json.loads(impetus(tmp_path, "cache", "ls", "--json").stdout)
    assert [model["model"] for model in listed] == ["tiny", "coder-7b"]
    assert [(model["segments"], model["tokens"], model["encrypted"]) for model in listed] == [(3, 600, False)] * 2
    assert all(15_000_000 < model["size_bytes"] < 15_010_000 for model in listed)
    head, first, _ = impetus(tmp_path, "cache", "ls").stdout.splitlines()
    assert head.split() == ["MODEL", "SEGMENTS", "TOKENS", "SIZE", "LAST", "USED"]
    assert first.split()[:5] == ["tiny", "3", "600", "0.02", "GB"]
    mine = tmp_path / "cache" / "prefix" / "notes.txt"
    mine.write_text("not Impetus'")
    cleared = impetus(tmp_path, "cache", "clear")
    assert (cleared.returncode, cleared.stdout) == (0, "Deleted 6 files, 0.03 GB.\n")
    assert list((tmp_path / "cache" / "prefix").iterdir()) == [mine]
    assert impetus(tmp_path, "cache", "clear").stdout == "Deleted 0 files, 0.00 GB.\n"


def test_cache_tells_nothing_of_encrypted_prompts_but_their_size(tmp_path: Path) -> None:
    keep_prompts(tmp_path, "tiny", sealed=True)
    (listed,) = json.loads(impetus(tmp_path, "cache", "ls", "--json").stdout)
    assert (listed["model"], listed["tokens"], listed["segments"], listed["encrypted"]) == (None, None, 3, True)
    assert listed["root"] == root_key(b"tiny").hex()
    assert "encrypted" in impetus(tmp_path, "cache", "ls").stdout
    assert impetus(tmp_path, "cache", "clear").stdout == "Deleted 3 files, 0.02 GB.\n"


def test_cache_asks_what_to_do(tmp_path: Path) -> None:
    done = impetus(tmp_path, "cache")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ACTION" in done.stderr


def test_ps_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    done = impetus(tmp_path, "ps", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "impetus serve" in done.stderr


def test_ls_lists_what_lies_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "someone" / "tiny-GGUF"
    folder.mkdir(parents=True)
    (folder / "tiny-Q4_0.gguf").write_bytes(make_gguf())
    models = json.loads(impetus(tmp_path, "ls", "--json").stdout)
    (tiny,) = [model for model in models if model["store"] == "impetus"]
    assert (tiny["id"], tiny["format"], tiny["path"]) == ("tiny-Q4_0", "gguf", str(folder / "tiny-Q4_0.gguf"))
    assert "tiny-Q4_0" in impetus(tmp_path, "ls").stdout


def test_the_starter_is_listed_with_its_family_in_its_name(tmp_path: Path) -> None:
    models = json.loads(impetus(tmp_path, "ls", "--json").stdout)
    (starter,) = [model for model in models if model["store"] == "starter"]
    assert "smollm2-135m-instruct" in starter["id"].lower()
    assert starter["problem"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("[server]\nprot = 1\n", ["impetus.toml:2:", "port"]), ("[server]\nport = 'x'\n", ["impetus.toml:2:", "expected int"])],
)
def test_a_wrong_settings_file_is_told_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "impetus.toml").write_text(text)
    done = impetus(tmp_path, "serve")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_busy_port_is_a_clear_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = impetus(tmp_path, "serve", "--port", str(port), "--echo")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr


def test_other_machines_are_served_only_with_a_key(tmp_path: Path) -> None:
    done = impetus(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "api_key" in done.stderr


def test_the_dashboard_needs_a_terminal(tmp_path: Path) -> None:
    done = impetus(tmp_path)
    assert done.returncode == 2
    assert "impetus serve" in done.stderr


async def test_pull_makes_a_model_that_ls_lists(tmp_path: Path) -> None:
    async with HubStandIn() as hub:
        hub.repos["someone/tiny-GGUF"] = Repo({"tiny-Q4_0.gguf": make_gguf(), "README.md": b"# tiny"})
        pulled = await asyncio.to_thread(impetus, tmp_path, "pull", "someone/tiny-GGUF:q4_0", HF_ENDPOINT=hub.url)
        assert pulled.returncode == 0, pulled.stderr
        missing = await asyncio.to_thread(impetus, tmp_path, "pull", "someone/nothing", HF_ENDPOINT=hub.url)
        assert missing.returncode == 1
        assert "someone/nothing" in missing.stderr
    models = json.loads(impetus(tmp_path, "ls", "--json").stdout)
    assert [model["id"] for model in models if model["store"] == "impetus"] == ["tiny-Q4_0"]


async def test_recommend_searches_the_hub_for_a_task(tmp_path: Path) -> None:
    async with HubStandIn() as hub:
        weights = tiny_llama(tmp_path / "tiny-F32.gguf").read_bytes()
        hub.repos["some/tiny-GGUF"] = Repo({"tiny-F32.gguf": weights})
        asked = ("recommend", "--search", "tiny", "--json")
        found = await asyncio.to_thread(impetus, tmp_path, *asked, HF_ENDPOINT=hub.url)
        assert [model["pull"] for model in json.loads(found.stdout)["models"]] == ["some/tiny-GGUF:F32"]
        embedding = await asyncio.to_thread(impetus, tmp_path, *asked, "--task", "embed", HF_ENDPOINT=hub.url)
        assert json.loads(embedding.stdout)["models"] == []
        assert "some/tiny-GGUF: not for embed" in json.loads(embedding.stdout)["notes"]


def test_settings_may_be_named_before_or_behind_the_command(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("[server]\nprot = 1\n")
    for arguments in (["--config", str(path), "ls"], ["ls", "--config", str(path)]):
        told = impetus(tmp_path, *arguments)
        assert (told.returncode, "other.toml:2" in told.stderr) == (2, True)


def test_doctor_tries_a_client_with_the_running_server_and_prints_what_it_found(tmp_path: Path) -> None:
    with serving(tmp_path, "--echo", "--model", "echo") as (url, _):
        done = impetus(tmp_path, "doctor", "aider", "--model", "echo", "--json")
        checks = json.loads(done.stdout)
        assert {check["group"] for check in checks} == {"machine", "server", "aider"}
        stream = next(check for check in checks if (check["group"], check["name"]) == ("aider", "stream"))
        assert (stream["verdict"], stream["change"]) == ("pass", None)
        assert any(url in check["found"] for check in checks)
    told = impetus(tmp_path, "doctor", "nobody")
    assert (told.returncode, "claude-code" in told.stderr) == (1, True)


def test_doctor_without_a_server_ends_with_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "impetus.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    done = impetus(tmp_path, "doctor")
    assert done.returncode == 1
    assert "SKIP    server" in done.stdout
    assert "- machine, access: Set server.api_key" in done.stdout.partition("What to change:")[2]


RECORDED = Path(__file__).parent / "fixtures" / "hw"


def test_the_hardware_of_a_recording_is_told_as_json_and_as_a_table(tmp_path: Path) -> None:
    recording = RECORDED / "recorded" / "m6_three_levels.json"
    (tmp_path / "impetus.toml").write_text("[hardware.override]\ngpu_cores = 99\n")
    done = impetus(tmp_path, "hardware", "--json", "--replay", str(recording))
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["levels"] == [["Super", 2], ["Performance", 4], ["Efficiency", 6]]
    assert (report["brand"], report["gpu_cores"], report["rosetta"]) == ("Apple M6", 12, None)
    table = impetus(tmp_path, "hardware", "--replay", str(RECORDED / "replay" / "unknown_chip.json")).stdout
    assert re.search(r"^memory_bandwidth_gbs +614 +newest known chip of this tier \(estimated\)$", table, re.MULTILINE)


def test_the_hardware_here_is_told_with_what_the_settings_state(tmp_path: Path) -> None:
    (tmp_path / "impetus.toml").write_text('[hardware.override]\nbrand = "Apple M9 Max"\nlevels = [["Super", 2]]\n')
    done = impetus(tmp_path, "hardware", "--json")
    report = json.loads(done.stdout)
    assert (report["brand"], report["generation"], report["levels"]) == ("Apple M9 Max", 9, [["Super", 2]])
    assert report["memory_bytes"] > 2**28
    assert "Apple M9 Max is not in the table of chips" in done.stderr


def test_what_is_no_recording_is_told_in_a_line(tmp_path: Path) -> None:
    for name, content in (("none.json", None), ("wrong.json", "[1]")):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        done = impetus(tmp_path, "hardware", "--json", "--replay", str(path))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("impetus: ")
        assert done.stderr.count("\n") == 1


def test_plan_says_how_a_model_would_be_held_here_and_on_a_recorded_machine(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.gguf").write_bytes(make_gguf())
    told = impetus(tmp_path, "plan", "small")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("DECISION")
    recording = Path(__file__).parent / "fixtures/hw/replay/m4_max.json"
    replayed = impetus(tmp_path, "plan", "small", "--json", "--replay", str(recording))
    assert replayed.returncode == 0, replayed.stderr
    report = json.loads(replayed.stdout)
    decisions = {decision["name"]: decision for decision in report["decisions"]}
    wanted = {
        *("engine", "threads", "prefill threads", "GPU layers", "batch", "micro-batch", "context", "KV precision"),
        *("concurrent sequences", "flash attention", "mmap", "mlock", "wired limit", "prefix memory", "speculative"),
    }
    assert wanted <= decisions.keys()
    assert all(decision["why"] for decision in report["decisions"])
    assert (report["engine"], decisions["batch"]["value"], report["fits"]) == ("llama", 1024, True)
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "made-aliases.json").write_text('{"mine": {"model": "small"}}')
    assert json.loads(impetus(tmp_path, "plan", "mine", "--json").stdout)["model"] == "small"
    unknown = impetus(tmp_path, "plan", "nothing")
    assert unknown.returncode == 1
    assert "does not exist" in unknown.stderr


def test_predict_and_recommend_speak_of_this_machine_and_of_listed_models(tmp_path: Path) -> None:
    predicted = impetus(tmp_path, "predict", "qwen3-8b", "--context", "4096", "--json")
    assert predicted.returncode == 0, predicted.stderr
    report = json.loads(predicted.stdout)
    assert (report["model"], report["context"], report["quantization"]) == ("Qwen3-8B", 4096, "Q4_K_M")
    assert report["memory_bytes"] > report["size_bytes"] > 4e9
    assert impetus(tmp_path, "predict", "qwen3-8b").stdout.startswith("WHAT")
    hot = RECORDED / "recorded" / "thermal_heavy.json"
    told = impetus(tmp_path, "predict", "qwen3-8b", "--replay", str(hot)).stdout
    assert "heat or low-power mode leaves about 65% of the speed now" in told
    assert impetus(tmp_path, "predict", "no-such-model").returncode == 1
    assert impetus(tmp_path, "predict", "qwen3-8b", "--context", "-1").returncode == 1
    recommended = json.loads(impetus(tmp_path, "recommend", "--task", "code", "--json").stdout)
    assert recommended["as_of"] > "2026"
    assert all("code" in model["tasks"] for model in recommended["models"])
    assert "impetus pull" in impetus(tmp_path, "recommend").stdout
    assert {model["on_disk"] for model in recommended["models"]} == {None}
    name = recommended["models"][-1]["model"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{name}.gguf").write_bytes(make_gguf())
    again = json.loads(impetus(tmp_path, "recommend", "--task", "code", "--json").stdout)
    assert [model["on_disk"]["id"] for model in again["models"] if model["on_disk"]] == [name]


def test_bench_measures_keeps_and_compares(tmp_path: Path) -> None:
    plan = ["--echo", "--force", "--depths", "16", "--streams", "1,2", "--tokens", "4"]
    first = impetus(tmp_path, "bench", "echo", *plan, "--json")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert (result["id"], result["model"], [each["streams"] for each in result["streams"]]) == (1, "echo", [1, 2])
    assert impetus(tmp_path, "bench", "echo", *plan, "--markdown").stdout.startswith("### echo on ")
    compared = impetus(tmp_path, "bench", "compare", "1", "2")
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.split()[:4] == ["WHAT", "1", "2", "RATIO"]
    assert "no benchmark 9" in impetus(tmp_path, "bench", "compare", "1", "9").stderr
    assert impetus(tmp_path, "bench", "compare", "1").returncode == 1
    assert impetus(tmp_path, "bench", "nothing", *plan).returncode == 1
