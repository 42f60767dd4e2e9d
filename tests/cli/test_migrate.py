"""The ``migrate`` command: the predecessor's folder becomes a registry with its history, whatever happens meanwhile."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from support.git import assert_sound, git
from support.legacy import BACKUP_1, BACKUP_2, CURATED_BACKUP, found_model, legacy_model, synonyms, usual, write_configs
from support.reconcile import Result, closed_log, command

STEPS = (BACKUP_1, CURATED_BACKUP, BACKUP_2)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    return write_configs(tmp_path / "old tool/configs", usual())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my registry"


def migrate(configs: Path, root: Path, *words: str, code: int = 0) -> Result:
    with closed_log():
        result = command("migrate", configs, "--registry", root, *words)
    assert result.code == code, result
    return result


def assert_valid(root: Path) -> None:
    """Fail unless every commit validates and its snapshot is what it gives (I2)."""
    assert_sound(root)
    assert git(root, "status", "--porcelain") == ""
    for commit in git(root, "rev-list", "HEAD").split():
        copy = root.parent / f"at {commit[:8]}"
        git(root, "worktree", "add", "-q", "--detach", str(copy), commit)
        for words in (("validate",), ("snapshot", "check")):
            assert command(*words, "--registry", copy).code == 0, (commit, words)
        git(root, "worktree", "remove", "--force", str(copy))


def tree(root: Path) -> str:
    return git(root, "rev-parse", "HEAD^{tree}").strip()


def log(root: Path, form: str = "%s") -> list[str]:
    return git(root, "log", "--reverse", f"--format={form}", "--date=iso").splitlines()


def test_a_folder_becomes_manifests_entries_and_a_commit_for_each_backup(configs: Path, root: Path) -> None:
    before = {path.name: path.read_bytes() for path in configs.iterdir()}
    said = migrate(configs, root).out
    assert log(root, "%ad")[1:4] == [
        "2025-10-20 08:00:00 +0000",
        "2025-10-20 12:00:00 +0000",
        "2025-10-21 09:00:00 +0000",
    ]
    assert [subject.partition(":")[0] for subject in log(root)[1:4]] == [f"Bring in {name}" for name in STEPS]
    assert sorted(path.stem for path in (root / "models").glob("*.yaml")) == ["qwen_(Q4_K_M)", "tiny_(FP16)"]
    entries = {path.stem: json.loads(path.read_bytes()) for path in (root / "discovered/testhost").iterdir()}
    assert {name: entry["managed"] for name, entry in entries.items()} == {
        "extra_(FP32)": False,
        "qwen_(Q4_K_M)": True,
        "tiny_(FP16)": True,
    }
    assert entries["qwen_(Q4_K_M)"]["download_path"] == "ollama://qwen3:8b"
    assert "legacy artifacts: no sizes were recorded" in said
    assert "phantom: only in the merged snapshot" in said
    assert "gone_(FP32)  (in backups only: history has it)" in said
    copied, own = (json.loads((root / file).read_bytes()) for file in ("model_registry.json", "snapshot/testhost.json"))
    assert [model["name"] for model in copied] == [model["name"] for model in own]
    assert before == {path.name: path.read_bytes() for path in configs.iterdir()}
    assert_valid(root)


def test_history_reaches_back_before_the_migration(configs: Path, root: Path) -> None:
    migrate(configs, root)
    repository = RegistryRepository.open(root)
    subjects = dict(line.split(" ", 1) for line in log(root, "%H %s"))
    assert BACKUP_1 in subjects[repository.resolve("2025-10-20T09:00+00:00")]
    assert BACKUP_2 in subjects[repository.resolve("2025-12-01")]
    assert "Migrate" in subjects[repository.resolve("now")]
    history = json.loads(command("history", "gone_(FP32)", "--registry", root, "--json").out)
    assert BACKUP_1 in json.dumps(history)


def test_a_second_run_does_nothing_and_says_so(configs: Path, root: Path) -> None:
    migrate(configs, root)
    head = git(root, "rev-parse", "HEAD")
    copy = write_configs(configs.parent / "a copy", usual())
    for folder in (configs, copy):
        assert "No changes." in migrate(folder, root).out
    (copy / BACKUP_2).unlink()  # a backup that somebody tidied away takes nothing back
    assert "No changes." in migrate(copy, root).out
    assert git(root, "rev-parse", "HEAD") == head


def test_a_dry_run_writes_nothing_anywhere(configs: Path, root: Path) -> None:
    home = Path(os.environ["HOME"])
    dry = json.loads(migrate(configs, root, "--dry-run", "--json").out)
    assert not root.exists()
    assert list(home.rglob("*")) == []
    wet = json.loads(migrate(configs, root, "--json").out)
    for document in (dry, wet):
        document["dry_run"] = None
        for commit in document["commits"]:
            commit["id"] = None
    assert dry == wet
    head = git(root, "rev-parse", "HEAD")
    assert "No changes." in migrate(configs, root, "--dry-run").out
    assert git(root, "rev-parse", "HEAD") == head


def test_the_report_tells_of_every_field(configs: Path, root: Path) -> None:
    report = json.loads(migrate(configs, root, "--json").out)
    assert report["format_version"] == 1
    (tiny,) = (model for model in report["models"] if model["name"] == "tiny_(FP16)")
    told = {key for part in ("legacy", "changed", "same", "outside", "empty") for key in tiny["entry"][part]}
    assert tiny["entry"]["counts"]["kept"] + len({key.split(".")[0] for key in told}) == len(found_model("tiny"))
    assert tiny["entry"]["outside"] == ["last_accessed"]
    assert {"profiles_placeholder", "probes", "performance", "version_lock", "served_model_id"} <= set(
        tiny["entry"]["empty"]
    )
    assert report["snapshot_only"] == ["phantom"]


KILLS = [
    f"{point}:{time}" for point in ("git.objects-written", "git.ref-moved", "git.index-updated") for time in (1, 2, 4)
]


@pytest.mark.parametrize("point", KILLS)
def test_i3_killed_anywhere_the_next_run_comes_to_the_same_result(
    configs: Path, root: Path, tmp_path: Path, point: str
) -> None:
    migrate(configs, tmp_path / "unharmed")
    words = [sys.executable, "-m", "imageworks", "migrate", str(configs), "--registry", str(root)]
    environment = {**os.environ, "IMAGEWORKS_FAILPOINT": point}
    assert subprocess.run(words, env=environment, check=False, capture_output=True).returncode == -9
    migrate(configs, root)
    assert tree(root) == tree(tmp_path / "unharmed")
    assert log(root) == log(tmp_path / "unharmed")
    assert_sound(root)
    assert "No changes." in migrate(configs, root).out


def test_what_the_registry_has_already_stays(configs: Path, root: Path) -> None:
    assert command("init", root).code == 0
    mine = root / "models/tiny_(FP16).yaml"
    mine.write_text("schema_version: 1\nbackend: vllm\n", encoding="utf-8")
    git(root, "add", "models")
    git(root, "commit", "-q", "-m", "Mine")
    draft = root / "models/qwen_(Q4_K_M).yaml"
    draft.write_text("mine, and not ready", encoding="utf-8")
    said = migrate(configs, root).out
    assert f"kept models/{mine.name}: is in the registry already" in said
    assert f"kept models/{draft.name}: is there and not committed" in said
    assert mine.read_text(encoding="utf-8") == "schema_version: 1\nbackend: vllm\n"
    assert draft.read_text(encoding="utf-8") == "mine, and not ready"
    assert git(root, "status", "--porcelain", "-z") == f"?? models/{draft.name}\0"
    draft.unlink()
    entry = json.loads((root / "discovered/testhost/tiny_(FP16).json").read_bytes())
    assert entry["managed"] is True
    assert_valid(root)
    assert "No changes." in migrate(configs, root).out


def test_a_backup_that_turns_up_later_is_put_in_its_place_and_what_people_changed_stays(
    configs: Path, root: Path
) -> None:
    late = (configs / BACKUP_2).read_bytes()
    (configs / BACKUP_2).unlink()
    migrate(configs, root)
    before = tree(root)
    mine = root / "models/tiny_(FP16).yaml"
    mine.write_text(mine.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    git(root, "commit", "-q", "-a", "-m", "Mine")
    (configs / BACKUP_2).write_bytes(late)
    assert "kept models/tiny_(FP16).yaml: is in the registry already" in migrate(configs, root).out
    assert [subject.split(" ")[0] for subject in log(root)[-3:]] == ["Mine", "Bring", "Migrate"]
    assert git(root, "diff", "--stat", before, "HEAD", "--", "models", "discovered").count("|") == 1
    assert mine.read_text(encoding="utf-8").endswith("# mine\n")
    assert_valid(root)


def test_two_folders_of_two_tools_share_a_registry(configs: Path, root: Path, tmp_path: Path) -> None:
    other = write_configs(
        tmp_path / "other",
        {"model_registry.discovered.json": [found_model("TINY_(fp16)"), found_model("extra_(FP32)", "x/y")]},
    )
    migrate(configs, root)
    said = migrate(other, root).out
    assert "kept discovered/testhost/extra_(FP32).json: is in the registry already" in said
    assert "there 'TINY_(fp16)'" in said
    assert_valid(root)
    for folder in (configs, other):
        assert "No changes." in migrate(folder, root).out


def test_nothing_is_written_where_something_cannot_be_read(configs: Path, root: Path) -> None:
    file = configs / "model_registry.discovered.json"
    file.write_text('[\n{"name": "a"},\n{"name": "a"}]', encoding="utf-8")
    result = migrate(configs, root, code=1)
    assert f"{file}:3:1: 'a' stands here twice, first in line 2" in result.err
    assert not root.exists()


BROKEN: Mapping[str, bytes] = {
    "empty": b"",
    "cut off": b'[{"name": "a"',
    "no list": b'{"name": "a"}',
    "not UTF-8": b"\xff\xfe",
    "twice in one": b'[{"name": "a", "name": "b"}]',
}


@pytest.mark.parametrize("name", ["model_registry.discovered.bak.json", BACKUP_1], ids=["undated", "dated"])
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_p2_one_bad_backup_is_passed_over_and_told(configs: Path, root: Path, name: str, data: bytes) -> None:
    (configs / name).write_bytes(data)
    result = migrate(configs, root)
    assert f"passed over {name}: 1:" in result.out
    assert json.loads(migrate(configs, root, "--json").out)["passed_over"][0]["name"] == name
    assert (root / "models/tiny_(FP16).yaml").is_file()
    assert_valid(root)


@pytest.mark.parametrize("kind", ["loop", "folder", "dangling", "huge"])
def test_p2_a_backup_that_is_no_file_is_passed_over(configs: Path, root: Path, kind: str) -> None:
    file = configs / "model_registry.discovered.bak.json"
    if kind == "folder":
        file.mkdir()
    elif kind == "huge":
        with file.open("wb") as stream:
            stream.truncate(10**12)
    else:
        file.symlink_to(file if kind == "loop" else configs / "nothing")
    assert f"passed over {file.name}" in migrate(configs, root).out
    assert_valid(root)


def test_p2_of_a_name_that_a_backup_has_twice_the_last_one_counts(configs: Path, root: Path) -> None:
    twice = [{"name": "a", "backend": "vllm"}, {"name": "b", "backend": "vllm"}, {"name": "a", "backend": "lmdeploy"}]
    (configs / BACKUP_1).write_text(json.dumps(twice), encoding="utf-8")
    result = migrate(configs, root)
    assert "'a' stands here twice" in result.out
    commit = git(root, "log", "--format=%H", f"--grep={BACKUP_1}").split()[-1]
    entry = json.loads(git(root, "show", f"{commit}:discovered/testhost/a.json"))
    assert entry["backend"] == "lmdeploy"
    assert "No changes." in migrate(configs, root).out


@pytest.mark.parametrize("bad", [1, {"name": ""}, {"nothing": 1}, None, {"name": "x" * 2000}])
def test_p2_one_bad_model_in_a_backup_does_not_stop_the_others(configs: Path, root: Path, bad: object) -> None:
    (configs / BACKUP_1).write_text(json.dumps([{"name": "a", "backend": "vllm"}, bad]), encoding="utf-8")
    assert f"passed over {BACKUP_1}: 1:" in migrate(configs, root).out
    commit = git(root, "log", "--format=%H", f"--grep={BACKUP_1}").split()[-1]
    assert git(root, "ls-tree", "-r", "--name-only", commit, "discovered/testhost").split() == [
        "discovered/testhost/a.json"
    ]


def test_p2_what_an_editor_of_windows_put_before_a_file_does_not_matter(configs: Path, root: Path) -> None:
    for file in configs.glob("*.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert "passed over" not in migrate(configs, root).out
    assert_valid(root)


def test_p2_where_nothing_can_be_read_nothing_is_made(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "only a bad backup"
    folder.mkdir()
    (folder / "model_registry.bak.json").write_bytes(b"")
    assert "not valid JSON" in migrate(folder, root, code=1).err
    assert not root.exists()


def test_a_registry_whose_entries_go_elsewhere_is_refused(configs: Path, root: Path) -> None:
    assert command("init", root).code == 0
    settings = root / "registry.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("branch: null", 'branch: "state"'), encoding="utf-8")
    git(root, "commit", "-q", "-a", "-m", "Elsewhere")
    assert "commit.branch" in migrate(configs, root, code=1).err


def test_a_damaged_record_is_told(configs: Path, root: Path) -> None:
    migrate(configs, root)
    (root / "migrated/testhost.json").write_text("{}", encoding="utf-8")
    git(root, "commit", "-q", "-a", "-m", "Damage")
    assert "migrated/testhost.json: not a record of migrations" in migrate(configs, root, code=1).err


def test_reconcile_adopts_nothing_and_deletes_nothing_of_what_was_migrated(configs: Path, root: Path) -> None:
    migrate(configs, root)
    plan = command("reconcile", "--registry", root, "--dry-run", "--prune", "--allow-empty", "--json")
    actions = {change["action"] for change in json.loads(plan.out)["changes"]}
    assert actions <= {"blocked"}


def test_without_a_registry_the_usual_place_gets_one(
    configs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with closed_log():
        assert command("migrate", configs).code == 0
    assert (Path(os.environ["HOME"]) / "ai-models/registry/models/tiny_(FP16).yaml").is_file()


def test_many_models_are_one_commit(tmp_path: Path, root: Path) -> None:
    models = [legacy_model(f"m{number}", f"acme/m{number}") for number in range(300)]
    configs = write_configs(tmp_path / "configs", {"model_registry.curated.json": [*models]})
    assert "300 manifests" in migrate(configs, root).out
    assert len(list((root / "models").iterdir())) == 301
    assert len(log(root)) == 2


def test_a_folder_that_the_registry_declares_already_is_declared_by_its_path(configs: Path, root: Path) -> None:
    assert command("init", root).code == 0
    mine = "schema_version: 1\nsource: {huggingface: acme/Tiny-7B}\nlocation: linux_wsl\n"
    (root / "models/mine.yaml").write_text(mine, encoding="utf-8")
    git(root, "add", "models")
    git(root, "commit", "-q", "-m", "Mine")
    migrate(configs, root)
    theirs = (root / "models/tiny_(FP16).yaml").read_text(encoding="utf-8")
    assert 'path: "/home/ada/ai-models/weights/acme/Tiny-7B"' in theirs
    assert "#   source.huggingface: acme/Tiny-7B is what it came from" in theirs
    assert_valid(root)


def test_a_plain_folder_becomes_the_registry_and_invalid_settings_are_told(configs: Path, root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("mine", encoding="utf-8")
    migrate(configs, root)
    assert (root / "notes.txt").read_text(encoding="utf-8") == "mine"
    (root / "registry.yaml").write_text("schema_version: 7\n", encoding="utf-8")
    git(root, "commit", "-q", "-m", "Damage", "--", "registry.yaml")
    (configs / BACKUP_1).write_text("[]", encoding="utf-8")
    assert "registry.yaml:1:17" in migrate(configs, root, code=1).err


def test_another_controller_is_waited_for_or_told(configs: Path, root: Path) -> None:
    assert command("init", root).code == 0
    with RegistryRepository.open(root).lock():
        assert "is locked by" in migrate(configs, root, code=1).err
    migrate(configs, root)


def test_every_changed_field_is_shown_when_asked(configs: Path, root: Path) -> None:
    said = migrate(configs, root, "--dry-run", "--verbose").out
    assert f"changed capabilities: {len(synonyms())} words became 7 flags" in said
    assert "changed source_provider: hf is written huggingface" in said
    assert "passed over" not in said


@pytest.mark.parametrize("place", [".git/lfs", "models", "payload"])
def test_x1_what_stands_in_a_registry_is_not_declared_by_its_path(configs: Path, root: Path, place: str) -> None:
    inside = str(root / place / "m")
    found = found_model("own_(FP16)", None, download_path=inside, download_location="custom")
    declared = legacy_model("own_(FP16)", None, backend_config={"port": 1, "model_path": inside, "extra_args": []})
    write_configs(configs, {"model_registry.curated.json": [declared], "model_registry.discovered.json": [found]})
    migrate(configs, root)
    manifest = (root / "models/own_(FP16).yaml").read_text(encoding="utf-8")
    assert "\nsource:" not in manifest
    assert "no place for a model" in manifest
    assert command("validate", "--registry", root).code == 0
