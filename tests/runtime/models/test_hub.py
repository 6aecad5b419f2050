"""Search and listing, by the real huggingface_hub against a stand-in for the Hub."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from hub_stand_in import GRANTED_TOKEN, HubStandIn, Repo

from impetus.runtime.errors import DownloadError
from impetus.runtime.models.hub import Hub
from impetus.runtime.models.hub_choice import choose_file
from impetus.runtime.models.offer import HubFile, Listing, RemoteFile
from impetus.runtime.models.quantization import find_quantization
from impetus.runtime.models.reference import Reference, parse_reference
from impetus.runtime.models.repository import find_models
from impetus.runtime.models.threads import start_in_thread


@pytest.fixture
async def hub() -> AsyncIterator[HubStandIn]:
    async with HubStandIn() as stand_in:
        yield stand_in


def files(*names: str) -> dict[str, bytes]:
    return {name: bytes(len(name)) for name in names}


async def test_a_search_finds_repositories_with_models_the_most_downloaded_first(hub: HubStandIn) -> None:
    hub.repos["a/Qwen3-GGUF"] = Repo(files("Qwen3-Q8_0.gguf", "Qwen3-Q4_K_M.gguf", "mmproj-F16.gguf"), downloads=5, likes=2)
    hub.repos["b/qwen3-big-GGUF"] = Repo(files("x-BF16.gguf"), downloads=99, gated=True)
    hub.repos["c/qwen3-adapter"] = Repo(files("adapter_config.json", "adapter_model.safetensors"), downloads=2000)
    hub.repos["e/qwen3-painter"] = Repo(
        files("config.json", "model.safetensors"), downloads=3000, facts={"pipeline_tag": "text-to-image"}
    )
    hub.repos["f/qwen3-MLX-4bit"] = Repo(
        files("config.json", "model.safetensors"), downloads=7, facts={"library_name": "mlx", "tags": ["mlx"]}
    )
    hub.repos["d/llama"] = Repo(files("x.gguf"))
    found = await Hub(endpoint=hub.url).search("qwen3")
    assert [(model.repo, model.downloads, model.quantizations, model.gated) for model in found] == [
        ("b/qwen3-big-GGUF", 99, ("BF16",), True),
        ("f/qwen3-MLX-4bit", 7, ("4-bit",), False),
        ("a/Qwen3-GGUF", 5, ("Q4_K_M", "Q8_0"), False),
    ]
    assert [model.formats for model in found] == [("gguf",), ("mlx",), ("gguf",)]
    assert found[0].updated is not None
    assert found[0].updated.year == 2025
    assert len(await Hub(endpoint=hub.url).search("", limit=2)) == 2


async def test_a_repository_s_files_come_with_size_and_quantisation_and_shards_as_one(hub: HubStandIn) -> None:
    names = ("m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "m-Q4_K_M.gguf", "README.md", "mmproj-m.gguf")
    hub.repos["a/m"] = Repo(files(*names, "half-00001-of-00002.gguf", "imatrix.gguf"))
    found = await Hub(endpoint=hub.url).files("a/m")
    assert [(file.name, file.size_bytes, file.quantization, file.shards) for file in found] == [
        ("m-Q4_K_M.gguf", 13, "Q4_K_M", 1),
        ("m-Q8_0-00001-of-00002.gguf", 52, "Q8_0", 2),
    ]


async def test_tags_tell_what_an_mlx_folder_without_stages_is_for(hub: HubStandIn) -> None:
    tags = ["mlx", "sentence-transformers", "text-generation"]
    repo = Repo(files("config.json", "model.safetensors", "README.md"), facts={"library_name": "mlx", "tags": tags})
    hub.repos["a/Qwen3-Embedding-4bit"] = repo
    [found] = await Hub(endpoint=hub.url).files("a/Qwen3-Embedding-4bit")
    assert (found.format, found.ability) == ("mlx", "embedding")
    hub.repos["a/Qwen3-4bit"] = Repo(repo.files, facts={"library_name": "mlx", "tags": ["mlx"]})
    assert [file.ability for file in await Hub(endpoint=hub.url).files("a/Qwen3-4bit")] == ["text"]


async def test_a_missing_and_a_private_repository_are_told_apart_from_nothing(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["a/secret"] = Repo(files("x-Q4_0.gguf"), private=True)
    for repo in ("a/secret", "a/missing"):
        with pytest.raises(DownloadError, match=r"does not exist on .* or it is private.*hf auth login"):
            await Hub(endpoint=hub.url).files(repo)
    monkeypatch.setenv("HF_TOKEN", GRANTED_TOKEN)
    assert len(await Hub(endpoint=hub.url).files("a/secret")) == 1


async def test_without_a_network_the_message_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(DownloadError, match=r"cannot be reached .*Is this machine online\?"):
            await Hub(endpoint=endpoint).search("x")


async def test_offline_mode_is_named(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        await Hub(endpoint=hub.url).search("x")


async def test_hf_endpoint_is_heeded_where_the_settings_name_none(hub: HubStandIn) -> None:
    hub.repos["a/m"] = Repo(files("m-Q4_0.gguf"))
    code = (
        "import asyncio; from impetus.runtime.models.hub import Hub;"
        "print([file.name for file in asyncio.run(Hub().files('a/m'))])"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url}
    answer = await start_in_thread(
        lambda: subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60),
        name="child",
    )
    assert answer.stdout.strip() == "['m-Q4_0.gguf']", answer.stderr


def listing(*names: str) -> Listing:
    return Listing("a/m", "c0ffee", find_models([RemoteFile(name, len(name), None) for name in names]))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "m-Q4_K_M.gguf"),
        ("Q8_0", "m-Q8_0.gguf"),
        ("q8_0", "m-Q8_0.gguf"),
        ("q4_k_xl", "UD/m-UD-Q4_K_XL.gguf"),
        ("m-Q2_K.gguf", "m-Q2_K.gguf"),
        ("M-q2_k", "m-Q2_K.gguf"),
        ("m-UD-Q4_K_XL.gguf", "UD/m-UD-Q4_K_XL.gguf"),
        ("UD/m-UD-Q4_K_XL.gguf", "UD/m-UD-Q4_K_XL.gguf"),
        ("s-Q6_K-00002-of-00002.gguf", "s-Q6_K-00001-of-00002.gguf"),
    ],
)
def test_a_reference_finds_its_file(wanted: str | None, expected: str) -> None:
    shards = ("s-Q6_K-00001-of-00002.gguf", "s-Q6_K-00002-of-00002.gguf")
    names = ("m-BF16.gguf", "m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "UD/m-UD-Q4_K_XL.gguf", *shards)
    assert choose_file(listing(*names), wanted).name == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("m-Q8_0.gguf", "m-Q4_0.gguf", "m-F16.gguf"), "m-Q4_0.gguf"),
        (("m-Q8_0.gguf", "m-Q6_K.gguf"), "m-Q6_K.gguf"),
        (("m-BF16.gguf", "m-IQ1_S.gguf"), "m-BF16.gguf"),
        (("gpt-oss-20b-mxfp4.gguf", "x-F16.gguf"), "gpt-oss-20b-mxfp4.gguf"),
    ],
)
def test_without_a_choice_the_best_bargain_is_taken(names: tuple[str, ...], expected: str) -> None:
    assert choose_file(listing(*names), None).name == expected


def test_what_is_not_there_is_answered_with_what_is() -> None:
    with pytest.raises(DownloadError, match=r"no file or quantisation 'Q3_K_M'.*Quantisations there: Q4_0, Q8_0"):
        choose_file(listing("m-Q8_0.gguf", "m-Q4_0.gguf"), "Q3_K_M")
    with pytest.raises(DownloadError, match="has no model"):
        choose_file(listing("model.safetensors"), None)


@pytest.mark.parametrize(
    ("text", "repo", "wanted"),
    [
        ("Qwen/Qwen3-8B-GGUF", "Qwen/Qwen3-8B-GGUF", None),
        (" a/b.c_d:Q4_K_M ", "a/b.c_d", "Q4_K_M"),
        ("a/b:sub/x-Q4_0.gguf", "a/b", "sub/x-Q4_0.gguf"),
        ("hf.co/a/b:Q8_0", "a/b", "Q8_0"),
        ("https://huggingface.co/a/b", "a/b", None),
        ("https://huggingface.co/a/b/tree/main", "a/b", None),
        ("https://huggingface.co/a/b/blob/main/q/x.gguf", "a/b", "q/x.gguf"),
        ("https://huggingface.co/a/b/resolve/main/x.gguf?download=true", "a/b", "x.gguf"),
    ],
)
def test_references_in_all_their_spellings(text: str, repo: str, wanted: str | None) -> None:
    assert parse_reference(text) == Reference(repo, wanted)


@pytest.mark.parametrize("text", ["", "qwen", "a/b/c", "a/../b", "../b", "a/b:", "a b/c", "/a/b", "a/b:x:y"])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(DownloadError, match="write owner/repo"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("a.i1-IQ3_XXS.gguf", "IQ3_XXS"),
        ("UD-Q4_K_XL/x-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("model-fp16.gguf", "F16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Q4_0-of-what-IQ4_NL.gguf", "IQ4_NL"),
        ("Qwen3-0.6B.gguf", None),
        ("SeQ2Seq-Q10.gguf", None),
    ],
)
def test_a_quantisation_is_found_in_a_name(name: str, quantization: str | None) -> None:
    assert find_quantization(name) == quantization


def test_a_set_of_shards_has_the_size_of_all() -> None:
    parts = [RemoteFile(f"m-0000{index}-of-00002.gguf", size, None) for index, size in ((1, 5), (2, None))]
    (file,) = find_models(parts)
    assert (file.size_bytes, file.shards) == (None, 2)
    assert find_models(parts[:1]) == ()
    assert isinstance(file, HubFile)
