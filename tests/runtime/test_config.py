import itertools
import tomllib
from pathlib import Path

import msgspec
import pytest

from impetus.runtime.config import AliasConfig, Config, parse_config, read_config, write_setting
from impetus.runtime.errors import ConfigError
from impetus.runtime.home import find_config, find_home

SHIPPED = Path(__file__).parents[2] / "impetus.toml"


def test_the_shipped_file_states_every_setting_with_its_default() -> None:
    text = SHIPPED.read_text()
    assert parse_config(text) == Config()
    assert tomllib.loads(text) == msgspec.to_builtins(Config())


def test_every_setting_in_the_shipped_file_has_a_comment() -> None:
    lines = SHIPPED.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("#"), line


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[server]\nhost = 'x'\nprot = 1\n", 3, ["server.prot", "port"]),
        ("[servr]\nport = 1\n", 1, ["servr", "server"]),
        ("[server]\n\nport = 'many'\n", 3, ["server.port", "expected int", "str"]),
        ("[server]\nport = 70000\n", 2, ["server.port", "65535"]),
        ("[engine]\nthreads = -1\n", 2, ["engine.threads", "at least 0"]),
        ("[memory]\nmodels_percent = nan\n", 2, ["memory.models_percent", "at least 0"]),
        ("[engine]\npassive_wait = 'maybe'\n", 2, ["engine.passive_wait", "maybe"]),
        ("[server\nport = 1\n", 1, ["TOML"]),
        ("port = 1\n", 1, ["port"]),
        ("[dashboard]\nkeys = { quit = 3 }\n", 2, ["dashboard.keys", "str"]),
        ("[aliases]\na = { model = 'm' }\nb = { modle = 'm' }\n", 3, ["aliases.b.modle", "model"]),
        ("[aliases]\n'my coder' = { model = 1 }\n", 2, ["aliases.my coder.model", "expected str"]),
        ("[aliases.a]\nmodel = 'm'\n[aliases.'b']\nmodel = 'm'\nlora = { x = 'y' }\n", 5, ["aliases.b.lora", "float"]),
        ("[aliases]\na = { lora = { x = 1.0 } }\n", 2, ["aliases.a", "model"]),
        ("[aliases]\na = 'm'\n", 2, ["aliases.a", "object"]),
    ],
)
def test_a_wrong_file_is_refused_with_file_line_and_the_nearest_name(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    path = tmp_path / "impetus.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert caught.value.message.startswith(f"{path}:{line}: "), caught.value.message
    for word in words:
        assert word in caught.value.message


def test_aliases_stand_for_models_and_adapters() -> None:
    config = parse_config("[aliases]\ncoder = { model = 'm', lora = { 'a b' = 0.5, c = 1 } }\n[aliases.plain]\nmodel = 'm'\n")
    assert config.aliases == {"coder": AliasConfig("m", {"a b": 0.5, "c": 1.0}), "plain": AliasConfig("m")}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_config(tmp_path / "nowhere.toml")


def test_writing_one_setting_keeps_everything_else_and_the_comments(tmp_path: Path) -> None:
    path = tmp_path / "impetus.toml"
    path.write_text(SHIPPED.read_text())
    config = write_setting(path, "dashboard", "theme", "impetus-light")
    assert config.dashboard.theme == "impetus-light"
    before, after = SHIPPED.read_text().splitlines(), path.read_text().splitlines()
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        ('theme = "impetus-dark"', 'theme = "impetus-light"')
    ]


def test_writing_into_a_missing_file_or_section_adds_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "impetus.toml"
    write_setting(path, "server", "port", 9000)
    write_setting(path, "dashboard", "theme", "a\"b'c # d")
    config = write_setting(path, "server", "host", "::1")
    assert (config.server.port, config.server.host, config.dashboard.theme) == (9000, "::1", "a\"b'c # d")


def test_a_line_that_cannot_be_edited_alone_costs_only_the_comments(tmp_path: Path) -> None:
    path = tmp_path / "impetus.toml"
    path.write_text("[server]\ncors_origins = [ # two\n  'a',\n  'b',\n]\nport = 1\n")
    config = write_setting(path, "server", "cors_origins", ["c"])
    assert (config.server.cors_origins, config.server.port) == (["c"], 1)


def test_a_value_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "impetus.toml"
    path.write_text("[server]\nport = 1\n")
    with pytest.raises(ConfigError, match=r"server\.port"):
        write_setting(path, "server", "port", "many")
    assert path.read_text() == "[server]\nport = 1\n"


def test_the_first_file_that_exists_is_read(tmp_path: Path) -> None:
    home = find_home(str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    assert find_config(home, named=None, folder=folder) == (Config(), home.settings_path)
    write_setting(home.settings_path, "server", "port", 1)
    assert find_config(home, named=None, folder=folder)[0].server.port == 1
    write_setting(folder / "impetus.toml", "server", "port", 2)
    assert find_config(home, named=None, folder=folder)[0].server.port == 2
    named = tmp_path / "named.toml"
    write_setting(named, "server", "port", 3)
    assert find_config(home, named=named, folder=folder) == (parse_config("[server]\nport = 3\n"), named)
    with pytest.raises(ConfigError):
        find_config(home, named=tmp_path / "missing.toml", folder=folder)


def test_impetus_home_holds_everything(tmp_path: Path) -> None:
    home = find_home(str(tmp_path))
    for path in (home.settings_path, home.models_dir, home.cache_dir, home.state_dir):
        assert path.is_relative_to(tmp_path)


def test_further_ports_are_written_on_one_line_and_again_over_it(tmp_path: Path) -> None:
    path = tmp_path / "impetus.toml"
    path.write_text("[server]\nport = 1 # mine\nalso_listen = []  # none yet\n\n[log]\nlevel = 'info' # as ever\n")
    assert write_setting(path, "server", "also_listen", [11434, 1234]).server.also_listen == [11434, 1234]
    assert "also_listen = [11434, 1234]  # none yet\n" in path.read_text()
    assert write_setting(path, "server", "also_listen", [1234]).server.also_listen == [1234]
    assert (
        path.read_text() == "[server]\nport = 1 # mine\nalso_listen = [1234]  # none yet\n\n[log]\nlevel = 'info' # as ever\n"
    )


@pytest.mark.parametrize("ports", ["[80]", "[70000]", "['x']", "[1111, 1112, 1113, 1114, 1115, 1116, 1117, 1118, 1119]"])
def test_ports_that_cannot_be_are_refused(ports: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.also_listen"):
        parse_config(f"[server]\nalso_listen = {ports}\n")


@pytest.mark.parametrize("speed", ["inf", "nan", "-1.0", "1e9"])
def test_a_bandwidth_that_cannot_be_is_refused(speed: str) -> None:
    with pytest.raises(ConfigError, match="bandwidth_gbs"):
        parse_config(f"[hardware.override]\nbandwidth_gbs = {speed}\n")
