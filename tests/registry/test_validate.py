"""Validation of files and registries: places, cross-file checks, what blocks what, and the command."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from imageworks.cli.program import make_application
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.json_reader import JsonError, parse_json
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.validate import Validation, check_manifest, is_manifest_path, validate_files, validate_registry

SETTINGS = """\
schema_version: 1
locations:
  linux_wsl: {path: ~/ai-models/weights, layout: owner/repo}
  flat_place: {path: ~/flat, layout: flat}
routing: {gguf: flat_place, default: linux_wsl}
hosts: {workstation: {labels: {gpu: rtx4090}, locations: {scratch: /scratch}}, laptop: {}}
"""

NO_FILES: Final[Mapping[str, bytes | Refusal]] = {}


@dataclass
class FakeReader:
    """A registry in memory; test_readers_agree holds it against the real one."""

    content: dict[str, bytes | Refusal] = field(default_factory=dict)

    def file(self, path: str) -> bytes | Refusal | None:
        return self.content.get(path)

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        return {path: data for path, data in self.content.items() if path.startswith(f"{folder}/")}


def registry(
    models: Mapping[str, str], settings: str = SETTINGS, more: Mapping[str, bytes | Refusal] = NO_FILES
) -> FakeReader:
    content: dict[str, bytes | Refusal] = {"registry.yaml": settings.encode()}
    for name, text in models.items():
        content[f"models/{name}"] = f"schema_version: 1\n{text}\n".encode()
    return FakeReader({**content, **more})


def lines(validation: Validation) -> list[str]:
    return [diagnostic.render() for diagnostic in validation.diagnostics]


def validate(models: Mapping[str, str], settings: str = SETTINGS) -> list[str]:
    return lines(validate_registry(registry(models, settings)))


def test_a_sound_registry_has_no_problems() -> None:
    result = validate_registry(
        registry(
            {
                "a.yaml": "source: {huggingface: a/b}\nlocation: linux_wsl\nhosts: [workstation, gpu=rtx4090]",
                "b.yml": "source: {path: ~/x}\nlocation: scratch\npreviously: [old]",
                "c.yaml": "source: {huggingface: c/d}\nlocation: ~/elsewhere",
                "d.yaml": "roles: [caption]",
            }
        )
    )
    assert lines(result) == []
    assert sorted(result.manifests) == ["a", "b", "c", "d"]
    assert result.manifests["a"].manifest.file == "models/a.yaml"
    assert result.blocked == {}
    assert result.settings is not None


def test_an_invalid_manifest_blocks_only_itself_and_keeps_its_name() -> None:
    result = validate_registry(registry({"good.yaml": "roles: [x]", "bad.yaml": "backend: vlm", "worse.yaml": "a:\t1"}))
    assert list(result.manifests) == ["good"]
    assert sorted(result.blocked) == ["bad", "worse"]
    assert lines(result) == [
        'models/bad.yaml:2:10: backend: "vlm" is not a known value',
        "models/worse.yaml:2:3: a tab is used as indent or separator",
    ]


def test_diagnostics_come_in_one_order_whatever_order_the_files_have() -> None:
    models = {f"{name}.yaml": "zzz: 1\nbackend: vlm\nlocation: nowhere" for name in "cab"}
    forward = validate(models)
    assert forward == validate(dict(reversed(models.items())))
    assert forward == sorted(forward)


def test_names_are_unique_without_regard_to_case_suffix_or_validity() -> None:
    found = validate({"Model.yaml": "roles: [x]", "model.yml": "broken: 1", "other.yaml": "roles: [x]"})
    assert "models/Model.yaml:1:1: the same model name as models/model.yml" in found
    assert "models/model.yml:1:1: the same model name as models/Model.yaml" in found
    result = validate_registry(
        registry({"Model.yaml": "roles: [x]", "model.yaml": "roles: [x]", "z.yaml": "roles: [x]"})
    )
    assert list(result.manifests) == ["z"]


@pytest.mark.parametrize("name", ["a b", "-a", "a:b", "abc\u00e9", "a" * 81, "con", "NUL.x", "a\u200bb", "a\n"])
def test_file_names_that_cannot_name_a_model(name: str) -> None:
    (found,) = validate({f"{name}.yaml": "roles: [x]"})
    assert "name" in found


def test_unknown_locations_and_hosts() -> None:
    models = {"a.yaml": "location: linux_wls\nhosts: [workstaton, gpu=rtx4080, laptop]"}
    result = validate_registry(registry(models))
    assert [(d.line, d.column, d.message) for d in result.diagnostics] == [
        (2, 11, 'unknown location "linux_wls"'),
        (3, 9, 'unknown host "workstaton"'),
        (3, 21, 'unknown host label "gpu=rtx4080"'),
    ]
    assert [d.remedy.partition("?")[0] for d in result.diagnostics] == [
        'did you mean "linux_wsl"',
        'did you mean "workstation"',
        'did you mean "gpu=rtx4090"',
    ]


def test_hosts_where_none_are_defined() -> None:
    (found,) = validate_registry(registry({"a.yaml": "hosts: [anyone]"}, "schema_version: 1\n")).diagnostics
    assert found.remedy == "there are no hosts (registry.yaml defines them)"


def test_a_host_with_entries_is_known() -> None:
    entry = json.dumps({"schema_version": 1, "name": "m", "managed": True}).encode()
    reader = registry({"a.yaml": "hosts: [server]"}, more={"discovered/server/m.json": entry})
    assert lines(validate_registry(reader)) == []


def test_registry_yaml_refers_only_to_what_it_defines() -> None:
    settings = (
        "schema_version: 1\nlocations: {one: {path: /one}}\nrouting: {gguf: on, default: one}\n"
        "hosts: {h: {locations: {one: {layout: flat}, two: {layout: flat}}}}\n"
    )
    assert validate({}, settings) == [
        'registry.yaml:3:17: unknown location "on"',
        'registry.yaml:4:46: unknown location "two"',
    ]


@pytest.mark.parametrize(("layout", "wrong"), [("flat", True), ("owner/repo", False), ("publisher/repo", False)])
def test_lm_studio_sees_only_its_own_layout(layout: str, wrong: bool) -> None:
    place = f"schema_version: 1\nlocations: {{one: {{path: /one, kind: lmstudio, layout: {layout}}}}}\n"
    told = "registry.yaml:2:55: layout flat in a location of kind lmstudio: LM Studio sees only publisher/model folders"
    assert validate({}, place) == ([told] if wrong else [])


def test_without_valid_settings_manifests_are_still_checked() -> None:
    assert validate({"a.yaml": "location: nowhere", "b.yaml": "backend: vlm"}, "nonsense: 1") == [
        'models/b.yaml:2:10: backend: "vlm" is not a known value',
        'registry.yaml:1:1: the key "schema_version" is missing',
        'registry.yaml:1:1: unknown key "nonsense"',
    ]
    missing = validate_registry(FakeReader({"models/a.yaml": b"schema_version: 1"}))
    assert lines(missing) == ["registry.yaml:1:1: the file is missing"]
    assert list(missing.manifests) == ["a"]


PIN = "a" * 40
SAME = "source: {huggingface: owner/repo}\nlocation: linux_wsl"
PINNED = SAME.replace("repo}", f'repo, revision: "{PIN}"}}')
FLAT = SAME.replace("linux_wsl", "flat_place")


def part(rest: str) -> str:
    """Return a manifest of a part of the repository."""
    return SAME.replace("repo}", f"repo, {rest}}}")


TARGETS: list[tuple[str, dict[str, str], bool]] = [
    ("same repository twice", {"a": SAME, "b": SAME}, True),
    ("different quantizations share", {"a": SAME + "\nquantization: q4", "b": SAME + "\nquantization: q8"}, False),
    ("same quantization", {"a": SAME + "\nquantization: q4", "b": SAME + "\nquantization: Q4"}, True),
    ("only one says which", {"a": SAME + "\nquantization: q4", "b": SAME}, True),
    ("d9 other weights", {"a": part("weights: [a.gguf]"), "b": part("weights: [b.gguf]")}, False),
    ("d9 the same weights", {"a": part("weights: [a.gguf]"), "b": part("weights: [A.gguf, b.gguf]")}, True),
    ("d9 all weights beside some", {"a": part("weights: [a.gguf]"), "b": SAME}, True),
    ("d9 some in any folder", {"a": part("weights: [x/a.gguf]"), "b": part("weights: [a.gguf]")}, True),
    ("d10 a name in two folders", {"a": part("weights: [x/a.gguf]"), "b": part("include: [y/a.gguf]")}, False),
    ("d10 two folders", {"a": part("subfolder: x"), "b": part("subfolder: y/")}, False),
    ("d10 a folder in a folder", {"a": part("subfolder: x"), "b": part("subfolder: x/y")}, True),
    ("d10 a file outside a folder", {"a": part("subfolder: x"), "b": part("weights: [y/a.gguf]")}, False),
    ("d10 a file inside a folder", {"a": part("subfolder: x"), "b": part("weights: [x/a.gguf]")}, True),
    ("d9 globs that cannot meet", {"a": part("weights: [a-*.gguf]"), "b": part("weights: [b-*.gguf]")}, False),
    ("d9 globs that may meet", {"a": part("weights: [a*.gguf]"), "b": part("weights: ['*b.gguf']")}, True),
    ("d9 a glob and what it matches", {"a": part("weights: ['*8B*.gguf']"), "b": part("weights: [m-8B.gguf]")}, True),
    ("d9 small files may be the same", {
        "a": part("include: [a.gguf, '*.json']"), "b": part("include: [b.gguf, '*.json']")}, False),
    ("d9 anything is no name", {"a": part("include: ['*']"), "b": part("weights: [b.gguf]")}, True),
    ("d9 a quantization and weights of another", {
        "a": SAME + "\nquantization: q8_0", "b": part("weights: [m-Q4_K_M.gguf]")}, False),
    ("d9 a quantization and weights of it", {
        "a": SAME + "\nquantization: q4", "b": part("weights: [m-Q4_K_M.gguf]")}, True),
    ("d9 a quantization and weights of none", {
        "a": SAME + "\nquantization: q4", "b": part("weights: [m.gguf]")}, True),
    ("case twins of the repository", {"a": SAME, "b": SAME.replace("owner", "Owner")}, True),
    ("another repository", {"a": SAME, "b": SAME.replace("repo", "repo2")}, False),
    ("a branch has its own folder", {"a": SAME, "b": SAME.replace("repo}", "repo, revision: dev}")}, False),
    ("two pins", {"a": SAME, "b": SAME.replace("repo}", f'repo, revision: "{PIN}"}}')}, True),
    (
        "quantizations of different pins",
        {"a": SAME + "\nquantization: q4", "b": PINNED + "\nquantization: q8"},
        True,
    ),
    ("another location", {"a": SAME, "b": SAME.replace("linux_wsl", "scratch")}, False),
    ("the same location by its path", {"a": SAME, "b": SAME.replace("linux_wsl", "~/ai-models/weights/")}, True),
    ("flat folders go by name", {"a": FLAT, "b": FLAT}, False),
    ("different hosts", {"a": SAME + "\nhosts: [laptop]", "b": SAME + "\nhosts: [workstation]"}, False),
    ("a label that is the host", {"a": SAME + "\nhosts: [gpu=rtx4090]", "b": SAME + "\nhosts: [workstation]"}, True),
    ("every host", {"a": SAME, "b": SAME + "\nhosts: [workstation]"}, True),
    ("absent ones claim nothing", {"a": SAME, "b": SAME + "\nstate: absent"}, False),
    ("routed by format", {"a": SAME, "b": "source: {huggingface: owner/repo}\nformat: safetensors"}, True),
    ("routed elsewhere", {"a": SAME, "b": "source: {huggingface: owner/repo}\nformat: gguf"}, False),
    ("one folder in place", {"a": "source: {path: ~/x}", "b": "source: {path: ~/x/}"}, True),
    ("ollama has a store of its own", {"a": "source: {ollama: m}", "b": "source: {ollama: m}"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("models", "clash"), [row[1:] for row in TARGETS], ids=[row[0] for row in TARGETS])
def test_two_manifests_in_one_folder(models: dict[str, str], clash: bool) -> None:  # a table's column
    found = validate({f"{name}.yaml": text for name, text in models.items()})
    assert len(found) == (2 if clash else 0), found
    assert all("its files would go to the same folder as those of models/" in line for line in found)


def test_many_manifests_in_one_folder_give_one_problem_each() -> None:
    assert len(validate({f"m{n}.yaml": SAME for n in range(200)})) == 200


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"a": "previously: [a]"}, ['models/a.yaml:2:14: "a" is its own former name']),
        ({"a": "previously: [A]"}, []),  # renamed by case alone
        (
            {"a": "previously: [b]", "b": "roles: [x]"},
            ['models/a.yaml:2:14: "b" is the name of models/b.yaml, so nothing was renamed'],
        ),
        (
            {"a": "previously: [old]", "b": "previously: [x, old]"},
            [
                'models/a.yaml:2:14: "old" is claimed as a former name by models/b.yaml too',
                'models/b.yaml:2:17: "old" is claimed as a former name by models/a.yaml too',
            ],
        ),
        (
            {"a": "previously: [b]", "b": "previously: [c]", "c": "previously: [a]"},
            [
                'models/a.yaml:2:14: "b" and "a" are each other\'s former names',
                'models/b.yaml:2:14: "c" and "b" are each other\'s former names',
                'models/c.yaml:2:14: "a" and "c" are each other\'s former names',
            ],
        ),
        (
            {"a": "previously: [b]", "b": "backend: vlm"},
            [
                'models/a.yaml:2:14: "b" is the name of models/b.yaml, so nothing was renamed',
                'models/b.yaml:2:10: backend: "vlm" is not a known value',
            ],
        ),
        ({"a": "previously: [old, older]"}, []),
    ],
)
def test_former_names(models: dict[str, str], expected: list[str]) -> None:
    assert validate({f"{name}.yaml": text for name, text in models.items()}) == expected


def entry(**fields: object) -> bytes:
    return json.dumps({"schema_version": 1, "name": "m", "managed": True} | fields, indent=2).encode()


def test_entries() -> None:
    reader = registry(
        {},
        more={
            "discovered/h/m.json": entry(),
            "discovered/h/other.json": entry(),
            "discovered/i/m.json": entry(download_size_bytes=-1, artifacts={"files": [{"path": "../x"}]}),
            "discovered/j/m.json": b"{,",
            "discovered/j/n.json": Refusal("a symbolic link"),
        },
    )
    result = validate_registry(reader)
    assert lines(result) == [
        'discovered/h/other.json:3:11: the name "m" is not that of the file, "other"',
        "discovered/i/m.json:5:26: download_size_bytes: -1 is out of range",
        'discovered/i/m.json:8:7: artifacts.files[0]: the key "sha256" is missing',
        'discovered/i/m.json:8:7: artifacts.files[0]: the key "size" is missing',
        'discovered/i/m.json:9:17: artifacts.files[0].path: "../x" has not the form that is expected here',
        "discovered/j/m.json:1:2: not valid JSON",
        "discovered/j/n.json:1:1: the file is a symbolic link",
    ]
    assert list(result.entries) == ["h"]
    assert list(result.entries["h"]) == ["m"]
    assert lines(validate_registry(reader, entries_of="h")) == lines(result)[:1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', 'duplicate key "a"'),
        (b"[NaN]", "a number that JSON does not know"),
        (b"[" + b"9" * 5_000 + b"]", "a number that JSON does not know"),
        (b"[" * 200_000, "nested too deep"),
        (b"\xff", "not UTF-8"),
        (b'["\\ud800"]', "not UTF-8"),
        (b"", "not valid JSON"),
        (b"{} x", "not valid JSON"),
    ],
)
def test_json_that_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(JsonError, match=message):
        parse_json(data, "e.json")


def test_places_in_json() -> None:
    document = parse_json(b'{\n  "a": [1, {"b\\u00e9": "x,{]"}],\n  "c": {}, "d": -1.5e3\n}\n', "e.json")
    assert document.locate(("a",)) == (2, 8)
    assert document.locate(("a", 1, "b\u00e9"), key=True) == (2, 13)
    assert document.locate(("a", 1, "b\u00e9")) == (2, 24)
    assert document.locate(("c",)) == (3, 8)
    assert document.locate(("d",)) == (3, 17)


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    root = write(tmp_path / "r", {"registry.yaml": SETTINGS, "models/good.yaml": "schema_version: 1\n"})
    secret = tmp_path / "secret"
    secret.write_text("schema_version: 1\nbackend: s3cret\n")
    (root / "models/link.yaml").symlink_to(secret)
    (root / "models/dangling.yaml").symlink_to(tmp_path / "nothing")
    (root / "models/folder").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "models/pipe.yaml")
    (root / "models/dir.yaml").mkdir()
    (root / "models/sub").mkdir()
    (root / "models/sub/nested.yaml").write_text("schema_version: 1\n")
    (root / "models/Loud.YAML").write_text("schema_version: 1\n")
    (root / "models/.hidden.yaml").write_text("nonsense")
    (root / "models/README.md").write_text("nonsense")
    result = validate_registry(WorkTreeReader(root))
    assert lines(result) == [
        "models/Loud.YAML:1:1: the suffix must be lower-case",
        "models/dangling.yaml:1:1: the file is a symbolic link",
        "models/folder:1:1: the file is a symbolic link",
        "models/link.yaml:1:1: the file is a symbolic link",
        "models/pipe.yaml:1:1: the file is not a plain file",
        "models/sub/nested.yaml:1:1: manifests stand directly in the models folder",
    ]
    assert "s3cret" not in repr(result)
    assert list(result.manifests) == ["good"]
    assert {"link", "dangling", "pipe"} <= set(result.blocked)


def test_a_linked_models_folder_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "r", {"registry.yaml": SETTINGS})
    (root / "models").symlink_to(write(tmp_path / "elsewhere", {"x.yaml": "schema_version: 1\n"}))
    assert lines(validate_registry(WorkTreeReader(root))) == ["models:1:1: the file is a symbolic link"]


def test_what_cannot_be_read_is_said_and_not_passed_over(tmp_path: Path) -> None:
    root = write(tmp_path / "r", {"real.yaml": SETTINGS, "models": "a file", "elsewhere/h/m.json": entry()})
    (root / "registry.yaml").symlink_to(root / "real.yaml")
    (root / "discovered").symlink_to(root / "elsewhere")
    assert lines(validate_registry(WorkTreeReader(root))) == [
        "discovered:1:1: the file is a symbolic link",
        "models:1:1: the file is no folder that can be listed (Not a directory)",
        "registry.yaml:1:1: the file is a symbolic link",
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "s.yaml"))
        (found,) = lines(validate_files([root / "s.yaml"]))
    assert "s.yaml:1:1: the file is unreadable (" in found
    (found,) = lines(validate_files([root]))
    assert found == f"{root}:1:1: not a kind of file that can be validated"
    (root / "folder.yaml").mkdir()
    (found,) = lines(validate_files([root / "folder.yaml"]))
    assert found.endswith("folder.yaml:1:1: the file is a folder")


def test_readers_agree(tmp_path: Path) -> None:
    fake = registry({"a.yaml": "roles: [x]", "b.yaml": "x: 1"}, more={"discovered/h/m.json": entry()})
    plain = {name: data for name, data in fake.content.items() if isinstance(data, bytes)}
    real = WorkTreeReader(write(tmp_path, plain))
    for folder in ("models", "discovered", "discovered/h", "nothing"):
        assert dict(real.files(folder)) == dict(fake.files(folder))
    assert real.file("registry.yaml") == fake.file("registry.yaml")
    assert real.file("missing") is fake.file("missing") is None


def test_what_is_a_manifest() -> None:
    assert is_manifest_path("models/a.yaml")
    assert is_manifest_path("models/a.yml")
    assert not is_manifest_path("models/.a.yaml")
    assert not is_manifest_path("models/a.json")
    assert not is_manifest_path("other/a.yaml")
    assert check_manifest("models/a.yaml", b"schema_version: 1\n").document is not None


def test_files_of_a_registry_are_checked_against_the_rest_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "reg",
        {
            "registry.yaml": SETTINGS,
            "models/a.yaml": f"schema_version: 1\n{SAME}\n",
            "models/b.yaml": f"schema_version: 1\n{SAME}\n",
            "models/c.yaml": "nonsense: 1\n",
            "snapshot/h.json": "{}",
            "notes.txt": "x",
        },
    )
    monkeypatch.chdir(tmp_path / "reg")
    found = validate_files([Path("models/a.yaml"), Path("registry.yaml")])
    assert lines(found) == ["models/a.yaml:2:9: its files would go to the same folder as those of models/b.yaml"]
    monkeypatch.chdir(tmp_path)
    named = [
        Path("reg/snapshot/h.json"),
        Path("reg/notes.txt"),
        Path("reg/models/missing.yaml"),
        Path("reg/models/c.yaml"),
    ]
    assert [line.partition(": ")[0] for line in lines(validate_files(named))] == [
        "reg/models/c.yaml:1:1",
        "reg/models/c.yaml:1:1",
        "reg/models/missing.yaml:1:1",
        "reg/notes.txt:1:1",
        "reg/snapshot/h.json:1:1",
    ]


def test_files_outside_any_registry_are_checked_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "schema_version: 1\nlocation: anywhere\n", "b.yaml": "backend: vlm\n", "e.json": "{}"})
    assert lines(validate_files([tmp_path / "a.yaml"])) == []
    assert len(lines(validate_files([tmp_path / "b.yaml", tmp_path / "e.json"]))) == 5


def command(*arguments: str) -> int:
    result = make_application()(args=list(arguments), standalone_mode=False)
    return result if isinstance(result, int) else ExitCode.SUCCESS


def test_the_command_prints_places_and_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "reg", {"registry.yaml": SETTINGS, "models/a.yaml": "schema_version: 1\nquantisation: awq\n"})
    monkeypatch.chdir(tmp_path)
    assert command("validate", "--registry", "reg") == ExitCode.FAILURE
    printed = capsys.readouterr()
    assert printed.out == 'reg/models/a.yaml:2:1: unknown key "quantisation"\n  did you mean "quantization"?\n'
    assert printed.err == "1 problem in 1 of 2 files\n"
    assert command("validate", "--registry", "reg", "--json") == ExitCode.FAILURE
    assert json.loads(capsys.readouterr().out) == {
        "format_version": 1,
        "valid": False,
        "files": 2,
        "diagnostics": [
            {
                "file": "reg/models/a.yaml",
                "line": 2,
                "column": 1,
                "message": 'unknown key "quantisation"',
                "remedy": 'did you mean "quantization"?',
            }
        ],
    }
    write(tmp_path / "reg", {"models/a.yaml": "schema_version: 1\nquantization: awq\n"})
    monkeypatch.chdir(tmp_path / "reg")
    assert command("validate") == ExitCode.SUCCESS
    assert command("validate", "models/a.yaml", "registry.yaml") == ExitCode.SUCCESS
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "2 files, no problems\n" * 2


def test_the_schema_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("schema", "manifest") == ExitCode.SUCCESS
    assert json.loads(capsys.readouterr().out)["title"] == "Model manifest"
    with pytest.raises(UsageError) as caught:
        command("schema", "manifst")
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.remedy == 'Did you mean "manifest"? Schemas: manifest, entry, snapshot, registry, plan.'
    with pytest.raises(UsageError) as caught:
        command("schema", "zzz")
    assert caught.value.remedy == "Schemas: manifest, entry, snapshot, registry, plan"


def test_a_file_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    for name in ("a", "b"):
        file = tmp_path / f"discovered/host/{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before", encoding="utf-8")
    files = WorkTreeReader(tmp_path).files("discovered")
    (tmp_path / "discovered/host/a.json").write_text("after", encoding="utf-8")
    (tmp_path / "discovered/host/b.json").unlink()
    assert sorted(files) == ["discovered/host/a.json", "discovered/host/b.json"]
    assert files["discovered/host/a.json"] == b"after"
    assert isinstance(files["discovered/host/b.json"], Refusal)
