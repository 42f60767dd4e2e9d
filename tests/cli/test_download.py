"""``download`` through the real command line: one command from a name to a declared, verified, recorded model."""

import json
import os
import re
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from imageworks.foundation.http_messages import Request, Response
from imageworks.loopback_hub.responses import error_response
from support.git import git
from support.hub import HubRepository
from support.reconcile import MODEL, QUANTS, REPO, Result, World, command
from support.registry import LARGE_BYTES, SHARDS, ended, model, noted_bytes, wait_for
from support.registry import World as Fresh
from support.terminal import Terminal
from support.transfer import content, tree

NAME = "tiny-1b-vllm"
TEMPLATE = {"chat_template.json": b'{"chat_template": "{{ messages }}"}'}


def download(world: World, *words: str | Path, code: int = 0) -> Result:
    result = command("download", *words, "--registry", world.root, "--no-progress")
    assert result.code == code, result
    if code == 0:
        world.check()
    return result


def typed(world: World, monkeypatch: pytest.MonkeyPatch, answers: str, *words: str) -> Result:
    """Run ``download`` as somebody at a terminal, who types the answers."""
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    return download(world, *words)


def manifest(world: World, name: str = NAME) -> str:
    return (world.root / f"models/{name}.yaml").read_text(encoding="utf-8")


def changed_by_last_commit(world: World) -> set[str]:
    return set(git(world.root, "show", "--name-only", "--format=", "HEAD").split())


@pytest.fixture(autouse=True)
def repository(world: World) -> HubRepository:
    return world.serve({**MODEL, **TEMPLATE})


def test_the_first_download_makes_a_registry_and_says_what_the_seed_says(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = isolated_environment
    monkeypatch.delenv("IMAGEWORKS_MODEL_ROOT")
    monkeypatch.chdir(home)
    world.serve({**MODEL, **TEMPLATE}, "microsoft/DialoGPT-medium")
    planned = command("download", "microsoft/DialoGPT-medium", "--dry-run")
    assert planned.code == 0, planned
    assert f"without --dry-run, download makes one at {home}/ai-models/registry." in planned.err
    assert "+ install  dialogpt-medium-vllm" in planned.out
    for mistyped in ("microsoft/DialoGPT-medum", "microsoft/DialoGPT-medium@nobranch"):
        assert command("download", mistyped).code == 1
    refused = command("download", "microsoft/DialoGPT-medium", "--role", "Bad Role")
    assert (refused.code, "--role Bad Role" in refused.err) == (64, True)
    assert tree(home / "ai-models") == {}
    assert not (home / "ai-models").exists()
    result = command("download", "microsoft/DialoGPT-medium")
    assert result.code == 0, result
    assert result.out == (
        "✅ Successfully downloaded: DialoGPT-medium\n"
        f"   📁 Files stored at: {home}/ai-models/weights/microsoft/DialoGPT-medium\n"
        "   🗂️  Location label: linux_wsl\n"
        "   🔧 Format: safetensors\n"
        "   💾 Size: 58.68 KiB\n"
        "   📄 Files downloaded: 5\n"
        "   🧩 Model type: llama\n"
        "   💬 Chat template detected: external file (chat_template.json)\n"
    )
    assert f"Made a registry at {home}/ai-models/registry" in result.err
    registry = home / "ai-models/registry"
    shown = git(registry, "show", "--name-only", "--format=%s", "HEAD").split("\n")
    assert shown[0] == "Download dialogpt-medium-vllm: 1 installed"
    assert set(filter(None, shown[1:])) == {
        "models/dialogpt-medium-vllm.yaml",
        "discovered/testhost/dialogpt-medium-vllm.json",
        "snapshot/testhost.json",
    }
    assert git(registry, "status", "--porcelain") == ""
    assert command("validate", "--registry", registry).code == 0


def test_the_manifest_is_pinned_commented_and_checked_by_editors(world: World, repository: HubRepository) -> None:
    download(world, REPO, "--role", "caption", "--role", "keywords")
    lines = manifest(world).splitlines()
    assert lines[0].startswith("# yaml-language-server: $schema=")
    pin = next(line for line in lines if "revision:" in line)
    assert re.fullmatch(rf'  revision: "{repository.commit_id}" # main, \d{{4}}-\d\d-\d\d', pin)
    assert 'roles: ["caption", "keywords"]' in manifest(world)
    assert changed_by_last_commit(world) == {
        f"models/{NAME}.yaml",
        f"discovered/testhost/{NAME}.json",
        "snapshot/testhost.json",
    }
    assert world.snapshot()[NAME]["roles"] == ["caption", "keywords"]
    assert world.plan().changes == {}


def test_a_second_download_uses_what_is_there(world: World, repository: HubRepository) -> None:
    download(world, REPO)
    before = world.head()
    repository.commit({"config.json": b'{"model_type": "llama", "new": 1}'})
    world.served.forget()
    result = download(world, REPO)
    assert "✅ Already here: tiny 1b" in result.out
    assert "main is at" in result.err
    assert world.head() == before
    assert "tokenizer.json" not in world.served.files


def test_force_moves_the_pin_and_reads_every_byte_again(world: World, repository: HubRepository) -> None:
    download(world, REPO)
    weights = world.weights / REPO / "model.safetensors"
    before = weights.stat()
    damaged = bytearray(weights.read_bytes())
    damaged[0] ^= 1
    weights.write_bytes(damaged)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    new = repository.commit({"config.json": b'{"model_type": "llama", "new": 1}'})
    world.served.forget()
    download(world, REPO, "--force")
    assert weights.read_bytes() == MODEL["model.safetensors"]
    assert "tokenizer.json" not in world.served.files
    assert re.search(rf'revision: "{new}" +# main, 20', manifest(world))
    assert "✅ Right as it was" in download(world, REPO, "--force").out


def test_a_branch_names_model_and_folder_and_keeps_them_when_pinned(world: World, repository: HubRepository) -> None:
    dev = repository.branch("dev", {"config.json": b'{"model_type": "llama", "dev": 1}'})
    download(world, f"{REPO}@dev")
    folder = world.weights / f"{REPO}@dev"
    assert tree(folder)["config.json"] == b'{"model_type": "llama", "dev": 1}'
    assert f'revision: "{dev}" # dev, ' in manifest(world, "tiny-1b-dev-vllm")
    assert 'branch: "dev"' in manifest(world, "tiny-1b-dev-vllm")
    repository.branch("dev", {"config.json": b"{}"})
    assert world.plan().changes == {}
    download(world, REPO, "--revision", "main")
    assert (world.weights / REPO).is_dir()
    assert world.entries() == ["tiny-1b-dev-vllm", NAME]


def test_one_revision_cannot_be_two(world: World) -> None:
    assert "exclude each other" in download(world, f"{REPO}@dev", "--revision", "other", code=64).err


def test_a_commit_is_a_pin_of_its_own(world: World, repository: HubRepository) -> None:
    old = repository.commit_id
    repository.commit({"config.json": b"{}"})
    download(world, f"{REPO}@{old}")
    assert f'revision: "{old}" # 20' in manifest(world)
    assert tree(world.weights / REPO)["config.json"] == MODEL["config.json"]


def test_of_several_quantizations_the_usual_one_is_taken_and_said(world: World) -> None:
    world.serve(QUANTS, "acme/many-GGUF")
    result = download(world, "acme/many-GGUF")
    assert "of 2 quantizations q4_k_m is taken" in result.err
    assert "🔧 Format: gguf (q4_k_m)" in result.out
    assert set(tree(world.weights / "acme/many-GGUF")) == {"README.md", "LICENSE", "many-7b-Q4_K_M.gguf"}
    download(world, "hf.co/acme/many-GGUF:Q8_0")
    assert world.entries() == ["many-gguf-q4_k_m", "many-gguf-q8_0"]
    assert world.plan().changes == {}


def test_quantizations_of_two_commits_do_not_share_a_folder_and_the_way_out_is_said(world: World) -> None:
    many = world.serve(QUANTS, "acme/many-GGUF")
    old = many.commit_id
    download(world, "acme/many-GGUF")
    many.commit({"README.md": b"# newer\n"})
    refused = download(world, "acme/many-GGUF:q8_0", code=1)
    assert f"to share its folder, give --revision {old}" in refused.err
    download(world, "acme/many-GGUF:q8_0", "--revision", old)
    assert world.entries() == ["many-gguf-q4_k_m", "many-gguf-q8_0"]


def test_a_branch_with_a_folder_of_its_own_is_no_way_out(world: World, repository: HubRepository) -> None:
    repository.branch("dev", {"config.json": b"{}"})
    download(world, f"{REPO}@dev")
    download(world, REPO)
    refused = download(world, REPO, "--backend", "lmdeploy", code=1)
    assert f"the same folder as those of models/{NAME}.yaml" in refused.err
    assert "to share its folder" not in refused.err


def test_without_the_usual_one_somebody_has_to_say(world: World) -> None:
    files = {name.replace("Q4_K_M", "Q5_K_M"): data for name, data in QUANTS.items()}
    world.serve(files, "acme/many-GGUF")
    refused = download(world, "acme/many-GGUF", "-y", code=1)
    assert "Choose one with --quant: q5_k_m (39.1 KiB), q8_0 (68.4 KiB)." in refused.err
    download(world, "acme/many-GGUF", "--quant", "Q5_K_M")
    assert world.entries() == ["many-gguf-q5_k_m"]


@pytest.mark.parametrize(("answer", "taken"), [("\n", "q4_k_m"), ("2\n", "q8_0"), ("nonsense\nq8_0\n", "q8_0")])
def test_at_a_terminal_the_quantization_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str, taken: str
) -> None:
    world.serve(QUANTS, "acme/many-GGUF")
    result = typed(world, monkeypatch, answer, "acme/many-GGUF")
    assert re.search(r"1 +q4_k_m +39\.1 KiB.* proposed", result.err)
    assert world.entries() == [f"many-gguf-{taken}"]


@pytest.mark.parametrize(
    ("answer", "banner"), [("\n", "Already here"), ("r\n", "Right as it was"), ("e\nsecond\n", "Moved")]
)
def test_at_a_terminal_an_existing_model_is_asked_about(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str, banner: str
) -> None:
    download(world, REPO)
    world.served.forget()
    result = typed(world, monkeypatch, answer, REPO)
    assert f"✅ {banner}" in result.out
    assert "tokenizer.json" not in world.served.files
    assert (world.folder / "second" / REPO).is_dir() == (banner == "Moved")


def test_at_a_terminal_nothing_is_asked_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(QUANTS, "acme/many-GGUF")
    download(world, "acme/many-GGUF", "--quant", "q8_0")
    result = typed(world, monkeypatch, "2\ne\nsecond\n", "acme/many-GGUF")
    assert "✅ Moved" in result.out
    assert result.err.count("Which one") == 1
    moved = result.err.partition("move: from ")[2].splitlines()[0]
    assert moved.count("second") == 1


def test_preferred_formats_are_tried_in_order(world: World) -> None:
    both = {**MODEL, "tiny-1b-Q4_K_M.gguf": QUANTS["many-7b-Q4_K_M.gguf"]}
    world.serve(both)
    assert "🔧 Format: gguf" in download(world, REPO, "--format", "awq,gguf,safetensors").out
    assert "🔧 Format: safetensors" in download(world, REPO, "--format", "safetensors,gguf", "-l", "second").out
    assert "there are no awq weights here" in download(world, REPO, "-f", "awq", code=1).err


def test_awq_is_told_by_the_configuration(world: World) -> None:
    quantized = {"quant_method": "awq", "bits": 4, "group_size": 128}
    config = json.dumps({"model_type": "llama", "quantization_config": quantized})
    world.serve({**MODEL, "config.json": config.encode()})
    result = download(world, REPO, "--format", "awq")
    assert "🔧 Format: safetensors (awq)" in result.out
    assert world.entries() == ["tiny-1b-vllm-awq"]


def test_a_location_goes_by_its_name(world: World) -> None:
    download(world, REPO, "--location", "second")
    assert (world.folder / "second" / REPO).is_dir()
    assert "It has: flat, linux_wsl, second." in download(world, REPO, "--location", "third", code=64).err


def test_a_path_is_allowed_from_then_on_and_that_is_said(
    world: World, isolated_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("other disk") / "my models"
    config = isolated_environment / ".config/imageworks/config.toml"
    before = config.read_text(encoding="utf-8")
    result = download(world, REPO, "--location", outside)
    assert tree(outside / REPO) == {**MODEL, **TEMPLATE}
    assert f"models may be below {outside} on this host from now on: added to roots in {config}" in result.err
    assert config.read_text(encoding="utf-8") == before.replace("[", f'["{outside}", ')
    assert "🗂️  Location label: custom" in result.out
    assert world.plan().changes == {}


def test_a_path_where_nothing_can_be_put_is_not_allowed_from_then_on(world: World, isolated_environment: Path) -> None:
    config = isolated_environment / ".config/imageworks/config.toml"
    before = config.read_text(encoding="utf-8")
    assert "(read-only)" in download(world, REPO, "--location", "/proc/models", code=1).err
    assert config.read_text(encoding="utf-8") == before


def test_the_whole_filesystem_is_no_location(world: World) -> None:
    assert "over the whole filesystem" in download(world, REPO, "--location", "/", code=64).err


def test_gguf_goes_to_lm_studio_where_it_is_and_to_the_weights_where_it_is_not(
    world: World, isolated_environment: Path
) -> None:
    studio = isolated_environment / ".lmstudio/models"
    locations = {
        "linux_wsl": {"path": "~/unused"},
        "lmstudio": {"path": str(studio), "layout": "publisher/repo", "kind": "lmstudio"},
        "windows_lmstudio": {"path": "/mnt/nowhere/models", "kind": "lmstudio"},
    }
    world.serve(QUANTS, "acme/many-GGUF")
    world.configure(locations=locations, routing={"gguf": "lmstudio", "default": "linux_wsl"})
    download(world, "acme/many-GGUF", "--quant", "q4_k_m")
    assert (studio / "acme/many-GGUF").is_dir()
    world.user_config(isolated_environment, f'roots = ["{world.folder}", "/mnt/nowhere"]\n')
    world.configure(locations=locations, routing={"gguf": "windows_lmstudio", "default": "linux_wsl"})
    result = download(world, "acme/many-GGUF", "--quant", "q8_0")
    assert "linux_wsl is taken instead" in result.err
    assert (world.weights / "acme/many-GGUF").is_dir()


def test_what_people_wrote_in_a_manifest_stays(world: World) -> None:
    download(world, REPO)
    text = manifest(world).replace(
        "backend: vllm", "# our favourite\nroles:\n  - caption   # the first\nbackend:   vllm"
    )
    world.write(f"models/{NAME}.yaml", text)
    download(world, REPO, "--role", "description", "--location", "second")
    changed = manifest(world)
    assert "# our favourite" in changed
    assert "location: second" in changed
    assert world.snapshot()[NAME]["roles"] == ["caption", "description"]
    assert world.message().startswith(f"Download {NAME}: 1 moved")


def test_a_manifest_with_uncommitted_changes_is_left_alone(world: World) -> None:
    download(world, REPO)
    world.write(f"models/{NAME}.yaml", manifest(world) + "# thinking about it\n", commit=False)
    refused = download(world, REPO, "--force", code=1)
    assert f"models/{NAME}.yaml has uncommitted changes" in refused.err
    assert manifest(world).endswith("# thinking about it\n")


def test_an_absent_model_comes_back(world: World) -> None:
    download(world, REPO)
    world.write(f"models/{NAME}.yaml", manifest(world) + "state: absent\n")
    world.reconcile()
    assert not (world.weights / REPO).exists()
    download(world, REPO)
    assert "state:" not in manifest(world)
    assert tree(world.weights / REPO) == {**MODEL, **TEMPLATE}


def test_a_renamed_model_is_known_by_its_repository(world: World) -> None:
    download(world, REPO)
    assert command("apply-simple-slugs", "--rename-slugs", "--apply", "--registry", world.root).code == 0
    (name,) = world.entries()
    assert name != NAME
    before = world.head()
    assert "Already here" in download(world, REPO).out
    assert world.head() == before
    assert command("remove", name, "--force", "--registry", world.root).code == 0
    assert "Found here" in download(world, REPO).out
    assert world.entries() == [name]
    assert not (world.root / f"models/{NAME}.yaml").exists()


def test_a_model_that_people_named_themselves_is_not_declared_twice(world: World) -> None:
    world.declare("ours", backend="vllm")
    world.reconcile()
    before = world.head()
    assert "Already here" in download(world, REPO).out
    assert world.head() == before
    download(world, REPO, "--role", "caption")
    assert world.snapshot()["ours"]["roles"] == ["caption"]


def test_a_former_name_of_another_model_is_not_taken(world: World) -> None:
    world.serve(MODEL, "other/small")
    world.declare("small", source={"huggingface": "other/small"}, previously=[NAME])
    before = world.head()
    refused = download(world, REPO, code=1)
    assert f"models/{NAME}.yaml would make another manifest wrong: models/small.yaml:" in refused.err
    assert world.head() == before
    world.check()


def test_a_model_that_a_scan_named_keeps_its_name(world: World) -> None:
    for file, data in MODEL.items():
        path = world.weights / REPO / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert command("scan", "--base", world.weights, "--registry", world.root).code == 0
    assert command("apply-simple-slugs", "--rename-slugs", "--apply", "--registry", world.root).code == 0
    (name,) = world.entries()
    download(world, REPO)
    assert world.entries() == [name]
    assert (world.root / f"models/{name}.yaml").is_file()


def test_a_name_is_not_taken_from_another_model(world: World) -> None:
    download(world, REPO)
    world.serve(MODEL, "other/tiny-1b")
    refused = download(world, "other/tiny-1b", code=1)
    assert f"{NAME} is already the name of {REPO}" in refused.err


def test_u11_a_name_that_is_taken_comes_with_one_that_says_who_made_it(world: World) -> None:
    download(world, REPO)
    world.serve(MODEL, "Other_Maker/tiny-1b")
    before = world.head()
    refused = download(world, "Other_Maker/tiny-1b", code=1)
    assert world.head() == before
    (option,) = re.findall(r"`(--name \S+)`", refused.err)
    assert option == f"--name {NAME}-other_maker"
    download(world, "Other_Maker/tiny-1b", *option.split())
    assert sorted(world.entries()) == [NAME, f"{NAME}-other_maker"]
    assert world.snapshot()[f"{NAME}-other_maker"]["producer"] == "Other_Maker".lower()
    again = download(world, "Other_Maker/tiny-1b")
    assert "Already here" in again.out
    assert sorted(world.entries()) == [NAME, f"{NAME}-other_maker"]


def test_u11_a_name_of_one_s_own_is_the_manifest_s_and_entry_s(world: World) -> None:
    download(world, REPO, "--name", "mine")
    assert world.entries() == ["mine"]
    assert "Already here" in download(world, REPO).out
    assert "Already here" in download(world, REPO, "--name", "mine").out
    refused = download(world, REPO, "--name", "another", code=1)
    assert "mine" in refused.err
    assert world.entries() == ["mine"]


@pytest.mark.parametrize("name", ["", "a/b", "../up", "A B", "con", "-x", "." * 3, "x" * 300])
def test_u11_what_no_manifest_can_be_called_is_refused(world: World, name: str) -> None:
    before = world.head()
    refused = command("download", REPO, f"--name={name}", "--registry", world.root)
    assert refused.code == 64
    assert "--name" in refused.err
    assert (world.head(), world.entries()) == (before, [])


def test_an_interrupted_download_declares_nothing_and_resumes(world: World) -> None:
    size = 9 << 20
    world.serve({**MODEL, "model.safetensors": content("large", size)})
    before, served = world.head(), world.served
    failing = {"tokenizer.json"}

    def staged() -> list[Path]:
        return list(world.weights.rglob("tree/model.safetensors"))

    def break_off(request: Request) -> Response:
        if request.path.rpartition("/")[2] in failing:
            wait_for(lambda: bool(staged()))
            return error_response(HTTPStatus.FORBIDDEN, "broken")
        return served(request)

    world.hub.intercept = break_off
    failed = download(world, REPO, code=1)
    assert "the same command resumes it" in failed.err
    assert world.head() == before
    assert git(world.root, "status", "--porcelain") == ""
    failing.clear()
    # What a hub was asked for is not what came: connections of aria2c ask to the end, and are cut where another began.
    (came,) = [path.stat() for path in staged()]
    download(world, REPO)
    installed = (world.weights / REPO / "model.safetensors").stat()
    assert (installed.st_ino, installed.st_mtime_ns) == (came.st_ino, came.st_mtime_ns)
    assert installed.st_size == size


def test_a_killed_download_declares_nothing_and_the_same_command_resumes_it(fresh: Fresh) -> None:
    fresh.publish(REPO, model("1", large=2 * LARGE_BYTES))
    head = git(fresh.registry, "rev-parse", "HEAD")
    fresh.meter.most = 16 << 20  # of 18; some of it is in pieces that are not complete
    child = fresh.start("download", REPO)
    wait_for(lambda: noted_bytes(fresh.weights) >= 6 << 20)
    child.kill()
    assert ended(child).code < 0
    assert git(fresh.registry, "rev-parse", "HEAD") == head
    fresh.meter.most, fresh.meter.rate = None, 4 << 20
    fresh.meter.served.clear()
    again = fresh.run("download", REPO)
    assert again.code == 0, again
    assert fresh.meter.served[SHARDS[0]] < 2 * LARGE_BYTES
    fresh.assert_settled()
    assert fresh.run("verify", "--full").code == 0


def test_a_branch_that_people_move_meanwhile_gets_the_manifest_on_top(world: World) -> None:
    served = world.served

    def commit_meanwhile(request: Request) -> Response:
        if request.path.endswith("/model.safetensors") and not (world.root / "models/other.yaml").exists():
            world.write("models/other.yaml", "schema_version: 1\nroles: [caption]\n")
        return served(request)

    world.hub.intercept = commit_meanwhile
    download(world, REPO)
    assert set(world.snapshot()) == {NAME, "other"}
    assert manifest(world)


def test_a_manifest_that_people_commit_meanwhile_is_not_overwritten(world: World) -> None:
    served, theirs = world.served, "schema_version: 1\nroles: [caption]  # ours\n"

    def commit_meanwhile(request: Request) -> Response:
        if request.path.endswith("/tokenizer.json") and not (world.root / f"models/{NAME}.yaml").exists():
            world.write(f"models/{NAME}.yaml", theirs)
        return served(request)

    world.hub.intercept = commit_meanwhile
    download(world, REPO, code=1)
    assert manifest(world) == theirs
    assert git(world.root, "status", "--porcelain") == ""


def test_the_summary_is_data_even_where_bars_are_drawn(world: World) -> None:
    master, terminal = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "imageworks", "download", REPO, "--registry", world.root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
        text=True,
        check=False,
    )
    drawn = os.read(master, 1 << 16).decode()
    os.close(terminal)
    os.close(master)
    assert done.returncode == 0, drawn
    assert done.stdout.startswith("✅ Successfully downloaded: tiny 1b\n   📁 Files stored at: ")
    assert "fetched " in drawn


def test_a_dry_run_shows_manifest_and_plan_and_writes_nothing(world: World) -> None:
    before = tree(world.folder)
    result = download(world, REPO, "--dry-run")
    assert f"models/{NAME}.yaml:" in result.out
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in result.out
    assert tree(world.folder) == before


def test_without_a_manifest_it_is_only_recorded(world: World) -> None:
    download(world, REPO, "--no-manifest", "--backend", "lmdeploy")
    assert not (world.root / "models").exists()
    name = "tiny-1b-lmdeploy"
    assert world.entry(name)["managed"] is False
    assert world.snapshot()[name]["backend"] == "lmdeploy"
    assert world.plan().changes == {}
    assert "✅ Already here" in download(world, REPO, "--no-manifest", "--backend", "lmdeploy").out
    download(world, REPO, "--backend", "lmdeploy")
    assert world.entry(name)["managed"] is True
    assert "declared already" in download(world, REPO, "--no-manifest", "--force", "--backend", "lmdeploy", code=64).err


def test_what_no_manifest_could_say_is_refused_at_once(world: World) -> None:
    assert "'nonsense' is not one of" in download(world, REPO, "--backend", "nonsense", code=64).err
    assert "--role bad role" in download(world, REPO, "--role", "bad role", code=64).err
    assert world.head() == git(world.root, "rev-list", "--max-parents=0", "HEAD").strip()


def test_roles_need_a_manifest(world: World) -> None:
    assert "--role needs a manifest" in download(world, REPO, "--no-manifest", "--role", "caption", code=64).err


def test_a_missing_aria2c_is_said_as_the_seed_says_it(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    refused = download(world, REPO, code=1)
    assert (
        "aria2c not found. Please install aria2c for optimal download performance.\n"
        "Ubuntu/Debian: sudo apt install aria2\n"
        "macOS: brew install aria2\n"
    ) in refused.err


def test_a_model_that_does_not_exist_is_said(world: World) -> None:
    assert "acme/nothing" in download(world, "acme/nothing", code=1).err


def test_optional_files_come_when_asked_for(world: World) -> None:
    world.serve({**MODEL, "docs/picture.png": b"png"})
    download(world, REPO)
    assert "docs/picture.png" not in tree(world.weights / REPO)
    download(world, REPO, "-o")
    assert tree(world.weights / REPO)["docs/picture.png"] == b"png"
    assert "optional: true" in manifest(world)
