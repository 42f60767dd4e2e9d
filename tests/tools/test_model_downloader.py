"""``ModelDownloader``: the seed's class, by the command line's own route."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imageworks.foundation.errors import ImageworksError
from imageworks.operations.download.draft import DeclareError
from imageworks.operations.remove import RemoveError
from imageworks.providers.selection.model import QuantChoice
from imageworks.registry.entries.lookup import UnknownModelError
from imageworks.tools.model_downloader import DownloadedModel, ModelDownloader
from imageworks.tools.model_downloader import downloader as module
from imageworks.tools.model_downloader.questions import ChoiceError
from support.git import git
from support.hub import HubRepository
from support.reconcile import MODEL, QUANTS, REPO, World, command
from support.registry import LARGE_BYTES, SHARDS, model
from support.terminal import Terminal
from support.transfer import tree

NAME = "tiny-1b-vllm"
TEMPLATE = {"chat_template.json": b'{"chat_template": "{{ messages }}"}'}
PICTURE = {"picture.png": b"png"}
BOTH = """\
import sys
from imageworks.tools.model_downloader import ModelDownloader

print(ModelDownloader().download(sys.argv[1], interactive=False).commit)
"""


@pytest.fixture(autouse=True)
def repository(world: World, monkeypatch: pytest.MonkeyPatch) -> HubRepository:
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(world.root))
    return world.serve({**MODEL, **TEMPLATE, **PICTURE})


@pytest.fixture
def downloader() -> ModelDownloader:
    return ModelDownloader()


@dataclass
class Answers:
    """Somebody who answers in a program's own window."""

    label: str = "q8_0"
    answer: str = "use"
    asked: list[str] = field(default_factory=list)

    def quantization(self, choices: Sequence[QuantChoice], proposed: str | None) -> str:
        self.asked.append(f"{[choice.label for choice in choices]}, {proposed}")
        return self.label

    def existing(self, name: str, path: Path | None) -> str:
        self.asked.append(f"{name} at {path}")
        return self.answer


def test_a_download_is_declared_verified_and_recorded_in_one_commit(
    world: World, downloader: ModelDownloader, repository: HubRepository, capfd: pytest.CaptureFixture[str]
) -> None:
    before = world.head()
    done = downloader.download(
        model_identifier=REPO,
        format_preference=["awq", "safetensors"],
        location_override="linux_wsl",
        include_optional=False,
        force_redownload=False,
        interactive=False,
    )
    assert capfd.readouterr() == ("", "")
    assert git(world.root, "rev-parse", "HEAD~1").strip() == before
    assert set(git(world.root, "show", "--name-only", "--format=", "HEAD").split()) == {
        f"models/{NAME}.yaml",
        f"discovered/testhost/{NAME}.json",
        "snapshot/testhost.json",
    }
    world.check()
    folder = world.weights / REPO
    assert tree(folder) == {**MODEL, **TEMPLATE}
    assert (done.name, done.display_name, done.path) == (NAME, "tiny 1b", folder)
    assert (done.format, done.quantization, done.location) == ("safetensors", None, "linux_wsl")
    assert done.size_bytes == sum(map(len, {**MODEL, **TEMPLATE}.values()))
    assert set(done.files) == {*MODEL, *TEMPLATE}
    assert (done.revision, done.commit, done.action) == (repository.commit_id, world.head(), "install")
    assert done.manifest == f"models/{NAME}.yaml"
    assert (done.chat_template.source, done.chat_template.path) == ("external", folder / "chat_template.json")
    assert done.left_to_choose == ("picture.png",)
    assert done.entry.artifacts.aggregate_sha256
    assert world.plan().changes == {}


def test_it_leaves_what_the_command_leaves(world: World, downloader: ModelDownloader) -> None:
    downloader.download(REPO)
    by_code = {path: git(world.root, "show", f"HEAD:{path}") for path in (f"models/{NAME}.yaml",)}
    downloader.remove_model(NAME, delete_files=True, purge=True)
    assert command("download", REPO, "--no-progress").code == 0
    assert {path: git(world.root, "show", f"HEAD:{path}") for path in by_code} == by_code


def test_large_files_come_through_aria2(world: World, downloader: ModelDownloader) -> None:
    world.serve(model("1"), "acme/large")
    done = downloader.download("acme/large", roles=["caption"])
    assert (done.path / SHARDS[0]).stat().st_size > LARGE_BYTES
    assert done.entry.roles == ("caption",)
    assert downloader.verify_model(done.name, full=True)


def test_a_second_download_uses_what_is_there(world: World, downloader: ModelDownloader) -> None:
    first = downloader.download(REPO)
    before = world.head()
    world.served.forget()
    again = downloader.download(REPO)
    assert (again.action, again.commit, again.path) == ("none", None, first.path)
    assert world.head() == before
    assert "tokenizer.json" not in world.served.files


def test_force_moves_the_pin(downloader: ModelDownloader, repository: HubRepository) -> None:
    old = downloader.download(REPO).revision
    new = repository.commit({"config.json": b'{"model_type": "llama", "new": 1}'})
    held = downloader.download(REPO)
    assert held.revision == old
    assert any("--force moves the pin" in note for note in held.notes)
    assert downloader.download(REPO, force_redownload=True).revision == new


def test_another_branch_is_another_model(downloader: ModelDownloader, repository: HubRepository) -> None:
    dev = repository.branch("dev", {"config.json": b'{"model_type": "llama", "dev": 1}'})
    experimental = downloader.download(f"{REPO}@dev", force_redownload=True)
    assert (experimental.name, experimental.revision) == ("tiny-1b-dev-vllm", dev)
    assert downloader.download(REPO).name == NAME


def test_optional_files_come_when_asked(downloader: ModelDownloader) -> None:
    done = downloader.download(REPO, include_optional=True)
    assert "picture.png" in done.files
    assert done.left_to_choose == ()


def test_a_folder_of_ones_own_is_allowed_from_then_on(
    world: World, downloader: ModelDownloader, isolated_environment: Path, tmp_path: Path
) -> None:
    world.user_config(isolated_environment, "")
    folder = tmp_path / "my own models"
    done = downloader.download(REPO, location_override=str(folder))
    assert done.path == folder / REPO
    assert done.location == "custom"
    assert any(f"models may be below {folder}" in note for note in done.notes)
    assert world.plan().changes == {}


def test_without_a_terminal_nobody_is_asked_and_that_is_said(world: World, downloader: ModelDownloader) -> None:
    world.serve(QUANTS, "acme/many-7b-GGUF")
    done = downloader.download("acme/many-7b-GGUF", interactive=True)
    assert done.quantization == "q4_k_m"
    assert done.notes[0].startswith("nobody can be asked without a terminal")
    assert any("of 2 quantizations q4_k_m is taken" in note for note in done.notes)
    again = downloader.download("acme/many-7b-GGUF", interactive=True)
    assert again.action == "none"
    assert any(f"{done.name} is used as it is" in note for note in again.notes)
    assert downloader.download(REPO, interactive=True).notes == ()


def test_what_nobody_can_decide_is_refused_with_the_choices(world: World, downloader: ModelDownloader) -> None:
    files = {name.replace("Q4_K_M", "Q5_K_M"): data for name, data in QUANTS.items()}
    world.serve(files, "acme/many-7b-GGUF")
    before = world.head()
    with pytest.raises(ChoiceError, match="there are 2 quantizations") as refused:
        downloader.download("acme/many-7b-GGUF", interactive=False)
    assert "q5_k_m (40,000 bytes), q8_0 (70,000 bytes)" in str(refused.value.remedy)
    assert world.head() == before
    assert downloader.download("acme/many-7b-GGUF", quantization="q8_0").quantization == "q8_0"


def test_a_program_can_answer_itself(world: World, tmp_path: Path) -> None:
    world.serve(QUANTS, "acme/many-7b-GGUF")
    answers = Answers(answer=str(tmp_path / "second copy"))
    asking = ModelDownloader(questions=answers)
    first = asking.download("acme/many-7b-GGUF")
    assert first.quantization == "q8_0"
    assert answers.asked == ["['q4_k_m', 'q8_0'], q4_k_m"]
    moved = asking.download("acme/many-7b-GGUF", quantization="q8_0")
    assert answers.asked[1:] == [f"{first.name} at {first.path}"]
    assert moved.path.is_relative_to(tmp_path / "second copy")
    assert asking.download("acme/many-7b-GGUF", quantization="q8_0", interactive=False).action == "none"
    assert len(answers.asked) == 2


def test_at_a_terminal_it_asks_on_stderr(
    world: World, downloader: ModelDownloader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.serve(QUANTS, "acme/many-7b-GGUF")
    monkeypatch.setattr(module, "at_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdin", Terminal("nine\n2\n"))
    assert downloader.download("acme/many-7b-GGUF").quantization == "q8_0"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "   2  q8_0       70,000 bytes\n" in shown.err
    assert "one of: q4_k_m, q8_0, 1, 2" in shown.err
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    with pytest.raises(ChoiceError, match="nobody answered"):
        downloader.download("acme/many-7b-GGUF", quantization="q8_0")


def test_a_model_that_is_only_recorded_has_no_manifest(world: World, downloader: ModelDownloader) -> None:
    done = downloader.download(REPO, declare=False)
    assert done.manifest is None
    assert not (world.root / "models").exists()
    assert not done.entry.managed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"model_identifier": "acme/nothing"}, "acme/nothing"),
        ({"model_identifier": "not a model!"}, "not a model!"),
        ({"model_identifier": REPO, "format_preference": ["gguf"]}, "gguf"),
        ({"model_identifier": REPO, "location_override": "nowhere"}, "nowhere"),
        ({"model_identifier": REPO, "location_override": "/"}, "location /"),
        ({"model_identifier": f"{REPO}@dev", "revision": "main"}, "exclude each other"),
    ],
)
def test_what_cannot_be_had_is_one_clear_error_and_no_commit(
    world: World, downloader: ModelDownloader, arguments: dict[str, object], problem: str
) -> None:
    before = world.head()
    with pytest.raises(ImageworksError) as refused:
        downloader.download(**arguments)  # type: ignore[arg-type] # as the table has them
    assert problem in refused.value.render()
    assert world.head() == before
    assert not (world.weights / REPO).exists()


def test_a_place_that_this_host_does_not_have_is_refused_before_anything_is_planned(
    world: World, downloader: ModelDownloader
) -> None:
    world.configure(locations={"away": {"path": "/mnt/no such drive/models"}}, routing={"default": "away"})
    with pytest.raises(DeclareError, match=r"location-unavailable|root-not-allowed"):
        downloader.download(REPO, location_override="away")
    assert world.entries() == []


def test_models_are_listed_by_the_seeds_filters(world: World, downloader: ModelDownloader) -> None:
    world.serve(QUANTS, "acme/many-7b-GGUF")
    tiny = downloader.download(REPO)
    many = downloader.download("acme/many-7b-GGUF", location_override="second")
    listed = downloader.list_models()
    assert [(d.name, d.download_size_bytes) for d in listed] == [
        (many.name, many.size_bytes),
        (tiny.name, tiny.size_bytes),
    ]
    assert [d.name for d in downloader.list_models(format_filter="gguf,awq")] == [many.name]
    assert [d.name for d in downloader.list_models(format_filter="q4_k_m")] == [many.name]
    assert [d.name for d in downloader.list_models(location_filter="linux_wsl")] == [tiny.name]
    assert downloader.list_models(format_filter="awq", location_filter="linux_wsl") == []
    assert [d.name for d in downloader.list_models(backend_filter="gguf")] == [many.name]
    counted = downloader.get_stats()
    assert (counted.models, counted.installed, counted.recorded_bytes) == (2, 2, tiny.size_bytes + many.size_bytes)
    assert counted.groups["format"]["gguf"] == (1, many.size_bytes)


def test_damage_is_found_and_told(downloader: ModelDownloader) -> None:
    done = downloader.download(REPO)
    assert downloader.verify_model(done.name) is True
    (done.path / "config.json").write_bytes(b"{}")
    assert downloader.verify_model(done.name) is False
    (problem,) = downloader.inspect_model(done.name).problems
    assert (problem.path, problem.fault.value) == ("config.json", "size-mismatch")
    assert downloader.verify_model("nope") is False
    with pytest.raises(UnknownModelError, match="no model is called 'nope'"):
        downloader.inspect_model("nope")


def test_a_model_is_removed_with_its_files(world: World, downloader: ModelDownloader) -> None:
    done = downloader.download(REPO)
    removed = downloader.remove_model(done.name, delete_files=True)
    assert (removed.deleted_files, removed.bytes_freed) == (len(done.files), done.size_bytes)
    assert any("state: absent" in note for note in removed.notes)
    assert not done.path.exists()
    assert downloader.list_models() == []
    assert downloader.download(REPO).action == "install"
    downloader.remove_model(done.name, delete_files=True, purge=True)
    with pytest.raises(RemoveError):
        downloader.remove_model(done.name)
    world.check()


def test_two_processes_download_the_same_and_both_have_it(world: World) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", BOTH, REPO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in started]
    assert [(err, code) for _, err, code in ended] == [("", 0)] * 2
    assert sorted(out.strip() for out, _, _ in ended) == sorted([world.head(), "None"])
    world.check()


def test_the_first_download_makes_a_registry_and_says_so(
    downloader: ModelDownloader, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEWORKS_REGISTRY_DIR")
    monkeypatch.chdir(isolated_environment)
    done = downloader.download(REPO)
    assert isinstance(done, DownloadedModel)
    assert done.notes[0].startswith(f"Made a registry at {isolated_environment}/ai-models/registry")


def test_the_old_registry_module_says_where_its_work_is_done() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import imageworks.tools.model_downloader.registry"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ImportError: imageworks.tools.model_downloader.registry is gone" in done.stderr
    assert "record_download" in done.stderr
