"""How it is installed and released: the wheel, the image, the workflows."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import Parser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

from imageworks.cli.command_table import COMMANDS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEMPLATES = [*WORKFLOWS, *sorted((ROOT / ".github/actions").rglob("*.yml")), ROOT / "docs/ci/github.yml"]
PLACEHOLDER = "OWNER/imageworks-models"


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    return document


def steps(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for job in document.get("jobs", {"": document.get("runs", {})}).values():
        yield from job.get("steps", ())


# --- the wheel ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_u10_an_index_shows_a_page_whose_links_lead_somewhere(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)
    assert found["Description-Content-Type"] == "text/markdown"
    page = str(found.get_payload())
    targets = re.findall(r"\]\(([^)]+)\)", page)
    assert len(targets) > 5
    for target in targets:
        assert target.startswith(("https://", "#")), target
        base = f"{PROJECT['urls']['Repository']}/blob/v{PROJECT['version']}/"
        assert not target.startswith(base) or (ROOT / target.removeprefix(base).partition("#")[0]).exists(), target
    urls = dict(line.split(", ", 1) for line in found.get_all("Project-URL", []))
    assert {"Homepage", "Repository", "Documentation", "Changelog", "Issues"} <= set(urls)
    assert found["License-Expression"] == "Apache-2.0"


def test_u10_the_wheel_has_the_package_its_types_and_schemas_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"imageworks"}
    assert {"imageworks/py.typed", "imageworks/schemas/manifest.schema.json", "imageworks/__main__.py"} <= set(names)
    (scripts,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "imageworks-models = imageworks.cli.app:main" in wheel.read(scripts).decode()


# --- workflows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_u10_actions_are_pinned_and_nothing_of_an_event_is_a_shell_s_program(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for used, comment in re.findall(r"uses: (\S+)(.*)", text):
        if PLACEHOLDER in used:
            continue
        assert re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+@[0-9a-f]{40}", used), used
        assert re.search(r"# v\d+\.\d+\.\d+", comment), used
    document = read(path)
    for step in steps(document):
        assert "${{" not in step.get("run", ""), step
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    if "jobs" in document:
        assert "permissions" in document


def test_u10_ci_runs_the_readme_s_test_on_every_python_and_both_systems() -> None:
    jobs = read(ROOT / ".github/workflows/ci.yml")["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}
    named = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)}
    assert set(matrix["python"]) == named == {"3.11", "3.12", "3.13", "3.14"}
    assert ".ci/run" in [step.get("run") for step in jobs["test"]["steps"]]
    assert "make dist" in [step.get("run") for step in jobs["wheel"]["steps"]]


def test_u10_what_publishes_runs_nothing_of_the_repository() -> None:
    document = read(ROOT / ".github/workflows/release.yml")
    assert document["permissions"] == {}
    publish = document["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "pypi"
    assert all("run" not in step and "checkout" not in step["uses"] for step in publish["steps"])
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checks() -> ModuleType:
    spec = spec_from_file_location("check_release", ROOT / "scripts/check_release.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("tag", "tag"), ("module", "__version__"), ("changes", "CHANGELOG"), ("owner", "OWNER"), ("", "")],
)
def test_u10_a_release_that_is_not_whole_is_refused(checks: ModuleType, tmp_path: Path, wrong: str, said: str) -> None:
    owner = "OWNER" if wrong == "owner" else "acme"
    (tmp_path / "controller/imageworks").mkdir(parents=True)
    urls = f'[project.urls]\nHomepage = "https://example.com/{owner}/x"\n'
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "1.2.3"\n{urls}', encoding="utf-8")
    module = "0.0.1" if wrong == "module" else "1.2.3"
    (tmp_path / "controller/imageworks/__init__.py").write_text(f'__version__ = "{module}"\n', encoding="utf-8")
    heading = "## [Unreleased]" if wrong == "changes" else "## [1.2.3] - 2026-12-01"
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n", encoding="utf-8")
    found = checks.problems("v1.2.4" if wrong == "tag" else "v1.2.3", tmp_path)
    assert (len(found) == 1 and said in found[0]) if wrong else found == []


# --- the image ----------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(word, rest.strip()) for word, _, rest in pairs]


def test_u10_the_image_has_what_is_needed_runs_without_root_and_copies_only_what_is_there() -> None:
    found = instructions()
    words = [word for word, _ in found]
    assert set(words) <= {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
    assert [rest for word, rest in found if word == "USER"] == ["1000:1000"]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word == "RUN")
    installed = next(rest for word, rest in found if word == "RUN" and "apt-get install" in rest).split()
    assert {"aria2", "git", "ca-certificates"} <= set(installed)
    assert all("--require-hashes" in rest or "--no-index" in rest for word, rest in found if "pip install" in rest)
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    for _, rest in ((word, rest) for word, rest in found if word == "COPY" and not rest.startswith("--from")):
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in let_in, source


def test_u10_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not here")
    done = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_u10_the_compose_example_runs_commands_that_there_are_with_few_rights() -> None:
    document = read(ROOT / "docs/compose.yaml")
    assert (ROOT / "docs" / document["x-host"]["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    known = {row.name for row in COMMANDS}
    for service in document["services"].values():
        assert service["command"][0] in known
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"]
        assert "IMAGEWORKS_HOST" in service["environment"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    listening = document["services"]["models"]
    assert "IMAGEWORKS_SERVE_TOKEN" in listening["environment"]
