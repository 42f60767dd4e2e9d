"""Issue 18: files of other programs are as they were reviewed, and no name reaches further than its place."""

import configparser
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from imageworks.exports.clusters import ansible_play, ray_commands
from imageworks.exports.kubernetes import (
    OPEN,
    ClusterOptions,
    cluster_base_model,
    cron_job,
    daemon_set,
    job,
    local_model_cache,
    node_group,
)
from imageworks.exports.llama import llama_server, llama_swap
from imageworks.exports.model import ExportedModel, ExportError, label_of
from imageworks.exports.timers import SERVICE, TIMER, systemd_units, task_xml
from imageworks.exports.yaml_text import yaml_text

GOLDEN = Path(__file__).parent / "golden"
COMMIT = "536a3570a1b2c3d4e5f60718293a4b5c6d7e8f90"
MODEL = ExportedModel(
    name="qwen2.5-vl-7b-vllm-awq",
    path="/data/weights/Qwen/Qwen2.5-VL-7B-Instruct-AWQ",
    size=6_900_000_000,
    repo="Qwen/Qwen2.5-VL-7B-Instruct-AWQ",
    revision=COMMIT,
    sha256="ab" * 32,
)
GGUF = ExportedModel(
    name="tiny-7b-gguf",
    path="/data/models/acme/tiny 7b",
    size=5_000_000,
    repo="acme/tiny-7b",
    revision=COMMIT,
    sha256="cd" * 32,
    aliases=("tiny",),
    weights="/data/models/acme/tiny 7b/tiny-Q4_K_M.gguf",
    projector="/data/models/acme/tiny 7b/mmproj.gguf",
    container="gguf",
)
CLUSTER = ClusterOptions(
    remote="https://git.example.com/team/registry.git",
    image="registry.example.com/imageworks-models:0.1.0",
    selector={"gpu": "a100"},
    revision=COMMIT,
)
WORDS = ("/opt/im/bin/imageworks-models", "reconcile", "--yes", "--registry", "/srv/models registry")
FILES: Final = {
    "daemonset.yaml": yaml_text([daemon_set(CLUSTER)]),
    "job.yaml": yaml_text([job(CLUSTER)]),
    "cronjob.yaml": yaml_text([cron_job(CLUSTER)]),
    "kserve.yaml": yaml_text([node_group("gpus", CLUSTER, limit="500Gi"), local_model_cache(MODEL, ["gpus"])]),
    "ome.yaml": yaml_text([cluster_base_model(MODEL, CLUSTER)]),
    "reconcile.service": systemd_units(WORDS, seconds=900, variables={"IMAGEWORKS_HOST": "gpu 1"})[SERVICE],
    "reconcile.timer": systemd_units(WORDS, seconds=900, variables={})[TIMER],
    "task.xml": task_xml(["wsl.exe", "--exec", *WORDS], seconds=900),
    "ray.yaml": yaml_text([ray_commands("https://git.example.com/r.git", "/opt/my registry", WORDS)]),
    "ansible.yaml": yaml_text([ansible_play(WORDS, hosts="gpus")]),
    "llama-swap.yaml": yaml_text([llama_swap([GGUF, MODEL])[0]]),
    "llama-server.ini": llama_server([GGUF, MODEL])[0],
}
HOSTILE: Final = (
    "x\nversion = 2",
    "x: {a: 1}",
    "x # y",
    "yes",
    "0x10",
    "$(HOME)",
    "${PORT}",
    "`id`; $(id) && rm -rf /",
    "%h %i",
    "]\n[other]",
    "<a/>&]]>",
    "{{ lookup('pipe', 'id') }}",
    "!!python/object/apply:os.system [id]",
    "- a\n--- \n",
    "\u2028x\u202ey",
    "'\"\\",
    "*",
    "-m",
)


def read(text: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(text))


@pytest.mark.parametrize("name", FILES)
def test_files_are_as_they_were_reviewed(name: str) -> None:
    golden = GOLDEN / name
    assert golden.read_text(encoding="utf-8") == FILES[name]


def test_yaml_means_the_same_to_readers_of_both_versions() -> None:
    yaml_11 = pytest.importorskip("yaml")  # PyYAML, as Ansible, and in Go's words Kubernetes, read it
    for text in (*HOSTILE, "no", "1e3", "012", "2026-01-01", "~", "=", "null", " x", "1:30", ".inf"):
        document = {"a": text, text: [text]}
        assert yaml_11.safe_load(yaml_text([document])) == document
        assert read(yaml_text([document])) == [document]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_stay_one_word_for_systemd_windows_and_shells(text: str) -> None:
    words = ["program", text, "last"]
    if not text.isprintable():
        for make in (
            lambda: systemd_units(words, seconds=60, variables={}),
            lambda: task_xml(words, seconds=60),
            lambda: ray_commands(text, "/r", words),
        ):
            with pytest.raises(ExportError):
                make()
        return
    unit = systemd_units(words, seconds=60, variables={"NAME": text})[SERVICE]
    started = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert started.count("%") == 2 * text.count("%")
    assert started.count("$") == 2 * text.count("$")
    assert len([line for line in unit.splitlines() if line.startswith("ExecStart=")]) == 1
    root = ET.fromstring(task_xml(words, seconds=60).encode())  # noqa: S314 # our own
    assert len(root.findall(".//{*}Exec")) == 1
    assert (root.find(".//{*}Arguments").text or "").endswith("last")  # type: ignore[union-attr]
    commands = ray_commands(text, "/r", words)["setup_commands"]
    assert isinstance(commands, list)
    assert shlex.split(commands[-1]) == words
    play = ansible_play(words, hosts="all")
    dumped = yaml_text([play])
    assert ("!unsafe" in dumped) == ("{{" in text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_of_models_open_no_section_and_no_macro(text: str) -> None:
    model = ExportedModel(text, "/data", 1, weights=f"/data/{text}.gguf", aliases=(text, "good"), container="gguf")
    swap, notes = llama_swap([model, GGUF])
    models = swap["models"]
    assert isinstance(models, dict)
    assert set(models) <= {text, GGUF.name}
    aliased = llama_swap([dataclasses.replace(GGUF, aliases=(text, "good"))])[0]["models"]
    assert "${" not in "".join(aliased[GGUF.name]["aliases"])  # type: ignore[index]
    if text in models:
        words = shlex.split(models[text]["cmd"])
        assert words[words.index("--model") + 1] == f"/data/{text}.gguf"
        assert words.count("--model") == 1
        assert models[text]["cmd"].count("${") == 1
    else:
        assert notes
    assert read(yaml_text([swap])) == [json.loads(json.dumps(swap))]
    presets, _ = llama_server([model, GGUF])
    parser = configparser.RawConfigParser(strict=True, comment_prefixes=("#", ";"), inline_comment_prefixes=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(presets.replace("version = 1", "", 1))
    assert set(parser.sections()) <= {text, GGUF.name}
    for section in parser.sections():
        assert set(parser[section]) <= {"model", "mmproj"}
    assert presets.count("version =") == 1 + (text.count("version =") if text in parser.sections() else 0)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_reach_no_further_in_kubernetes(text: str) -> None:
    options = ClusterOptions(remote=text, image="image", path="/p")
    document = read(yaml_text([daemon_set(options)]))[0]
    container = document["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["/bin/sh", "-euc", OPEN, "imageworks-models"]
    remote = next(one["value"] for one in container["env"] if one["name"] == "IMAGEWORKS_REMOTE")
    assert remote.replace("$$(", "$(") == text
    label = label_of(text, COMMIT)
    assert label[0].isalpha()
    assert label.replace("-", "").isalnum()
    assert label.isascii()
    assert len(label) <= 63
    assert label.endswith(COMMIT[:8])


def test_a_pod_clones_a_registry_whole_with_its_token_and_runs_us(tmp_path: Path) -> None:
    """The very script, with git and our program replaced by ones that tell what they were given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    git = 'sh -c "${2#credential.helper=!} get" > "$0.said"; for last; do :; done; mkdir -p "$last/.git"\n'
    for name, text in (("git", git), ("imageworks-models", 'printf "%s\\n" "$@" > "$0.said"\n')):
        (programs / name).write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        (programs / name).chmod(0o755)
    registry = tmp_path / "a registry"
    (tmp_path / "a registry.arriving/left").mkdir(parents=True)
    variables = {"IMAGEWORKS_REGISTRY_DIR": str(registry), "PATH": f"{programs}:{os.environ['PATH']}"}
    words = ("/bin/sh", "-euc", OPEN, "imageworks-models", "reconcile", "--yes")
    for remote, token, told in (
        ("https://git.example.com/r.git", "t0p", "username=x-access-token\npassword=t0p\n"),
        ("http://git.example.com/r.git", "t0p", ""),
        ("https://git.example.com/r.git", "", ""),
    ):
        shutil.rmtree(registry, ignore_errors=True)
        given = {**variables, "IMAGEWORKS_REMOTE": remote, **({"IMAGEWORKS_GIT_TOKEN": token} if token else {})}
        subprocess.run(words, env=given, check=True, timeout=60)
        assert (programs / "git.said").read_text(encoding="utf-8") == told
        assert [path.name for path in registry.iterdir()] == [".git"]
        assert not Path(f"{registry}.arriving").exists()
        assert (programs / "imageworks-models.said").read_text(encoding="utf-8").split() == ["reconcile", "--yes"]


def test_only_a_node_s_folder_is_handed_over() -> None:
    on_node, with_claim = (
        daemon_set(ClusterOptions(remote="r", image="i", claim=claim))["spec"]["template"]["spec"]  # type: ignore[index]
        for claim in ("", "models")
    )
    assert on_node["securityContext"]["runAsNonRoot"] is True
    assert [one["securityContext"]["capabilities"] for one in on_node["initContainers"]] == [
        {"drop": ["ALL"], "add": ["CHOWN"]}
    ]
    assert "initContainers" not in with_claim


def test_labels_of_different_names_differ() -> None:
    names = ["a.b", "a-b", "a_b", "A-b", "a" * 80, "a" * 81, "é", "1", "-", "x" * 63]
    labels = {label_of(name) for name in names}
    assert len(labels) == len(names)
    assert label_of("a-b") == "a-b"


SWAP_SCHEMA: Final = {
    "type": "object",
    "required": ["models"],
    "properties": {
        "models": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["cmd"],
                "properties": {
                    "cmd": {"type": "string", "minLength": 1},
                    "aliases": {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True},
                    "metadata": {"type": "object"},
                },
                "additionalProperties": False,
            },
        }
    },
}
"""As far as we use it of https://github.com/mostlygeek/llama-swap/blob/main/config-schema.json."""

KSERVE_SCHEMAS: Final = {
    "LocalModelCache": {
        "type": "object",
        "required": ["sourceModelUri", "modelSize", "nodeGroups"],
        "properties": {
            "sourceModelUri": {"type": "string", "pattern": "^hf://[^:]+:[0-9a-f]{40}$"},
            "modelSize": {"type": "string", "pattern": "^[0-9]+Gi$"},
            "nodeGroups": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        },
        "additionalProperties": False,
    },
    "LocalModelNodeGroup": {
        "type": "object",
        "required": ["storageLimit", "persistentVolumeClaimSpec", "persistentVolumeSpec"],
        "properties": {
            "storageLimit": {"type": "string"},
            "persistentVolumeClaimSpec": {"type": "object"},
            "persistentVolumeSpec": {"type": "object", "required": ["capacity", "local"]},
        },
        "additionalProperties": False,
    },
}


def test_custom_objects_keep_to_their_schemas() -> None:
    assert Draft202012Validator(SWAP_SCHEMA).is_valid(read(FILES["llama-swap.yaml"])[0])
    found = read(FILES["kserve.yaml"])
    assert [one["kind"] for one in found] == ["LocalModelNodeGroup", "LocalModelCache"]
    for one in found:
        assert list(Draft202012Validator(KSERVE_SCHEMAS[one["kind"]]).iter_errors(one["spec"])) == []
    assert found[1]["metadata"]["name"].endswith(COMMIT[:8])


@pytest.mark.parametrize("name", ["daemonset.yaml", "job.yaml", "cronjob.yaml"])
def test_kubernetes_takes_its_objects(name: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for document in read(FILES[name]):
        kubernetes_validate.validate(document, "1.30", strict=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("text", ["plain", "50% of $HOME", "a \"b\" 'c' \\d", "a;b", "{{x}}"])
def test_systemd_takes_its_units(tmp_path: Path, text: str) -> None:
    words = ["/bin/echo", text]
    for name, unit in systemd_units(words, seconds=900, variables={"IMAGEWORKS_HOST": text}).items():
        (tmp_path / name).write_text(unit, encoding="utf-8")
    files = [str(tmp_path / name) for name in (SERVICE, TIMER)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = [line for line in done.stderr.splitlines() if "imageworks" in line]
    assert told == []


def test_ansible_takes_the_play_and_tells_honestly(tmp_path: Path) -> None:
    playbook = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if playbook is None:
        pytest.skip("ansible-core is not installed")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$0.said"\nexit 2\n', encoding="utf-8")
    program.chmod(0o755)
    play = tmp_path / "play.yaml"
    words = [str(program), "{{ 1 + 1 }}", "a b"]
    play.write_text(yaml_text([ansible_play(words, hosts="localhost")]), encoding="utf-8")
    environment = {**os.environ, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "ANSIBLE_LOCAL_TEMP": str(tmp_path)}
    here = f"ansible_python_interpreter={sys.executable}"
    for flags in (["--syntax-check"], []):
        done = subprocess.run(
            [playbook, "-c", "local", "-i", "localhost,", "-e", here, *flags, str(play)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
    assert (tmp_path / "program.said").read_text(encoding="utf-8").splitlines() == words[1:]
