"""The templates for CI: their own shell steps, run against real git with a remote and the services' interfaces."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from imageworks.hub.server import HubServer
from support.git import git
from support.hub import HubRepository
from support.reconcile import HOST, MODEL, NAME, REPO

ROOT = Path(__file__).parent.parent
ACTION = ROOT / ".github/actions/plan/action.yml"
WORKFLOW = ROOT / "docs/ci/github.yml"
GITLAB = ROOT / "docs/ci/gitlab.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
TOKEN = "t0ken-canary"  # noqa: S105 # no secret: it is looked for where it must not be
HUB_TOKEN = "hf_hubcanary"  # noqa: S105 # likewise
SETTINGS = "schema_version: 1\nlocations: {linux_wsl: {path: ~/weights}}\nhosts: {workstation: {}, laptop: {}}\n"
ANCHOR = "<!-- imageworks-plan: all hosts -->"


class Comments(BaseHTTPRequestHandler):
    """As much of GitHub's and GitLab's interface as the templates use; comments are kept by the server."""

    server: "Service"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def answer(self) -> None:
        """Read or write a comment, for whoever has the token."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ") or self.headers.get("PRIVATE-TOKEN")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        self.server.asked.append(f"{self.command} {self.path}")
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        comments = self.server.comments
        reply: object
        if given != TOKEN:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        if path.endswith("/user"):
            reply = {"id": 7}
        elif self.command == "GET":
            start = (int(query["page"][0]) - 1) * 100
            reply = comments[start : start + 100]
        else:
            if self.command == "POST":
                comments.append({"id": len(comments), "user": {"type": "Bot"}, "author": {"id": 7}})
            number = int(path.rpartition("/")[2]) if self.command in {"PATCH", "PUT"} else len(comments) - 1
            comments[number]["body"] = body["body"]
            reply = comments[number]
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 # the library's names


class Service(ThreadingHTTPServer):
    """A server on loopback that keeps comments."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Comments)
        self.comments: list[dict[str, object]] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def ours(self) -> list[str]:
        return [str(one["body"]) for one in self.comments if str(one["body"]).startswith(ANCHOR)]


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        # Somebody's words come first, and more of them than one page holds.
        person = {"user": {"type": "User"}, "author": {"id": 1}}
        server.comments += [{"id": n, "body": f"words {n}", **person} for n in range(120)]
        server.comments[3]["body"] = f"{ANCHOR}\nquoted by a person"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Registry:
    """A bare remote with a registry, a person's clone, and what CI checks out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = folder / "the remote.git"
        self.clone = folder / "a person's clone"
        self.checkout = folder / "the runner's checkout"
        git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(self.remote))
        git(folder, "clone", "--quiet", str(self.remote), str(self.clone))
        self.write("registry.yaml", SETTINGS)
        self.first = git(self.clone, "rev-parse", "HEAD").strip()
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")

    def write(self, file: str, text: str) -> None:
        path = self.clone / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", f"Write {file}")

    def request(self) -> str:
        """Push the present state as a request's branch and check out its merge, as services do; returns the base."""
        git(self.clone, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/request")
        if not self.checkout.exists():
            git(self.folder, "clone", "--quiet", str(self.remote), str(self.checkout))
        git(self.checkout, "fetch", "--quiet", "origin")
        git(self.checkout, "checkout", "--quiet", "--detach", "origin/main")
        git(self.checkout, "merge", "--quiet", "--no-ff", "-m", "Merge the request", "origin/request")
        return git(self.checkout, "rev-parse", "origin/main").strip()

    def merge(self) -> None:
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    HubRepository(tmp_path / "hub", REPO, MODEL)
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def environment(tmp_path: Path, hub: HubServer) -> dict[str, str]:
    """What a runner gives to its steps; the program is on its path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    # As pip installs it: Python looks into the folder of the program first. What each one was given is written down.
    command = f"'{sys.executable}' '{Path(sys.executable).with_name('imageworks-models')}'"
    for name, words in (("imageworks-models", command), ("python", f"'{sys.executable}'")):
        note = f'{{ echo "{name} $*"; pwd; env; }} > "{tmp_path}/ran-{name}-$$"'
        (programs / name).write_text(f'#!/bin/sh\n{note}\nexec {words} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HF_ENDPOINT": hub.url,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),  # the steps write to it
    }


def load(file: Path) -> dict[str, object]:
    document = YAML(typ="safe").load(file)
    assert isinstance(document, dict)
    return document


def shell(script: str, cwd: Path, env: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a step as services run it; a token never stands on a command line."""
    assert TOKEN not in script
    command = [*(words or ("bash", "--noprofile", "--norc", "-eo", "pipefail")), "-c", script]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


def on_github(registry: Registry, service: Service, environment: Mapping[str, str], *, token: str = TOKEN) -> int:
    """Run the action's steps on the request as it stands; returns the job's exit code."""
    registry.request()
    runner = registry.folder / "runner temp"
    runner.mkdir(exist_ok=True)
    files = {name: runner / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    env = {
        **environment,
        **{name: str(path) for name, path in files.items()},
        "RUNNER_TEMP": str(runner),
        "GITHUB_API_URL": service.url,
        "GITHUB_REPOSITORY": "acme/registry",
        "GITHUB_SHA": git(registry.checkout, "rev-parse", "HEAD").strip(),
        "GITHUB_WORKSPACE": str(registry.checkout),
    }
    given = {
        "${{ inputs.registry }}": ".",
        "${{ inputs.base }}": "",
        "${{ github.event.pull_request.base.sha }}": registry.first,
        "${{ inputs.hosts }}": "",
        "${{ inputs.token }}": token,
        "${{ inputs.hf_token }}": HUB_TOKEN,
        "${{ join(github.event.pull_request.labels.*.name, ',') }}": environment.get("LABELS", ""),
        "${{ inputs.package }}": "imageworks-models",  # is here already, so nothing is fetched
        "${{ github.event.pull_request.number }}": "1",
    }
    runs = load(ACTION)["runs"]
    assert isinstance(runs, dict)
    code = 0
    for step in runs["steps"]:
        outputs = dict(line.split("=", 1) for line in _lines(files["GITHUB_OUTPUT"]))
        known = given | {f"${{{{ steps.plan.outputs.{key} }}}}": value for key, value in outputs.items()}
        done = shell(step["run"], registry.checkout, env | {k: known[v] for k, v in step.get("env", {}).items()})
        assert TOKEN not in done.stdout + done.stderr
        assert HUB_TOKEN not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr or token != TOKEN, done.stderr
        code = done.returncode
        if step["name"] != "Result":
            assert code == 0, done
    assert files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8").startswith(ANCHOR)
    return code


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def on_gitlab(registry: Registry, service: Service, environment: Mapping[str, str], *, token: str = TOKEN) -> int:
    """Run the job's script on the request as it stands; returns its exit code."""
    base = registry.request()
    job = load(GITLAB)["plan-models"]
    assert isinstance(job, dict)
    env = {
        **environment,
        **job["variables"],
        "CI_API_V4_URL": service.url,
        "CI_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_PROJECT_DIR": str(registry.checkout),
        "IMAGEWORKS_PACKAGE": "imageworks-models",  # is here already, so nothing is fetched
        "IMAGEWORKS_GITLAB_TOKEN": token,
        "HF_TOKEN": HUB_TOKEN,
        "CI_MERGE_REQUEST_LABELS": environment.get("LABELS", ""),
    }
    # A runner makes one script of both.
    done = shell("\n".join([*job["before_script"], *job["script"]]), registry.checkout, env, "sh", "-e")
    assert HUB_TOKEN not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert ANCHOR in done.stdout
    (registry.checkout / "imageworks-plan.md").unlink()
    return done.returncode


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_a_request_from_its_first_push_to_its_merge(
    run: Callable[..., int],
    registry: Registry,
    service: Service,
    environment: dict[str, str],
) -> None:
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vlm\n")
    assert run(registry, service, environment) == 1
    [bad] = service.ours[1:]
    assert f"- `models/{NAME}.yaml:3:10: " in bad
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    assert run(registry, service, environment) == 0
    [good] = service.ours[1:]
    assert "#### Host `laptop`" in good
    assert f"| `+` | `{NAME}` | install (missing) |" in good
    assert len(service.comments) == 121
    assert service.comments[3]["body"] == f"{ANCHOR}\nquoted by a person"
    registry.merge()
    registry.write("models/README.md", "Nothing of a model.\n")
    assert run(registry, service, environment) == 0
    [nothing] = service.ours[1:]
    assert "No changes." in nothing.splitlines()
    assert f"`{HOST}`" not in nothing


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_a_comment_that_is_refused_fails_no_job(
    run: Callable[..., int],
    registry: Registry,
    service: Service,
    environment: dict[str, str],
) -> None:
    """Requests from forks have no token that may write."""
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\n")
    assert run(registry, service, environment, token="none") == 0  # noqa: S106 # no secret
    assert len(service.ours) == 1


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_x11_a_request_that_loosens_the_rules_needs_its_label(
    run: Callable[..., int], registry: Registry, service: Service, environment: dict[str, str]
) -> None:
    strict = f"{SETTINGS}policies: {{forbid_pickle: true, change_requires: [policy change]}}\n"
    registry.write("registry.yaml", strict)
    registry.merge()
    registry.write("registry.yaml", SETTINGS)
    assert run(registry, service, environment) == 1
    assert "**loosened or reaching further:** `policies.forbid_pickle`" in service.ours[1]
    assert run(registry, service, {**environment, "LABELS": "bug,policy change"}) == 0


def test_without_a_token_gitlab_is_not_asked(registry: Registry, service: Service, environment: dict[str, str]) -> None:
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\n")
    assert on_gitlab(registry, service, environment, token="") == 0
    assert service.asked == []


def test_nothing_of_a_request_is_pasted_into_a_shell() -> None:
    runs = load(ACTION)["runs"]
    assert isinstance(runs, dict)
    for step in runs["steps"]:
        assert "${{" not in step["run"], step["name"]
        assert step["shell"] == "bash"


def test_the_workflow_gives_only_what_the_action_takes() -> None:
    inputs = load(ACTION)["inputs"]
    jobs = load(WORKFLOW)["jobs"]
    assert isinstance(inputs, dict)
    assert isinstance(jobs, dict)
    (step,) = [one for one in jobs["plan"]["steps"] if "/.github/actions/plan@" in one["uses"]]
    assert step["with"].keys() <= inputs.keys()
    assert (ROOT / step["uses"].partition("imageworks-models/")[2].partition("@")[0] / "action.yml").is_file()
    assert load(WORKFLOW)["permissions"] == {"contents": "read", "pull-requests": "write"}


HOSTILE = (
    *("json.py", "os.py", "secrets.py", "pip/__main__.py", "pip/__init__.py", "imageworks/__init__.py", "pip.py"),
    *("urllib/__init__.py", "typer.py", "sitecustomize.py", "usercustomize.py", "encodings/__init__.py", "http.py"),
)


def _plant(registry: Registry, canary: Path) -> None:
    """Put modules where a Python that is not isolated takes them, as the first thing that it does."""
    code = f"import builtins\nbuiltins.open({str(canary)!r}, 'a').write(__name__)\n"
    for file in HOSTILE:
        registry.write(file, code)


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_x2_the_python_of_a_request_is_never_run(
    run: Callable[..., int], registry: Registry, service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    canary = tmp_path / "hostile code ran"
    _plant(registry, canary)
    registry.write("pyproject.toml", "[project]\nname = 'imageworks-models'\nversion = '9'\n")
    registry.write("pip.conf", "[global]\nindex-url = http://127.0.0.1:9/\n")
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    assert run(registry, service, environment) == 0
    assert not canary.exists()
    assert len(service.ours) == 2
    # The canary is good: not isolated, the same files do run.
    shell("python -m pip --version || python -c 'import json'", registry.checkout, environment)
    assert canary.exists()


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_x2_each_secret_is_known_to_the_one_program_that_needs_it(
    run: Callable[..., int], registry: Registry, service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    assert run(registry, service, environment) == 0
    ran = [file.read_text(encoding="utf-8") for file in tmp_path.glob("ran-*")]
    assert {one.splitlines()[0].split(" -", 1)[0] for one in ran} == {
        *("python", "imageworks-models validate", "imageworks-models reconcile")
    }
    assert not [one for one in ran if Path(one.splitlines()[1]).is_relative_to(registry.checkout)]
    for secret, owner in ((TOKEN, "python -I -\n"), (HUB_TOKEN, "imageworks-models reconcile ")):
        holders = [one for one in ran if secret in one]
        assert len(holders) == 1
        assert holders[0].startswith(owner)
        assert secret not in holders[0].splitlines()[0]


def test_x2_a_plan_is_not_written_through_a_link_of_the_request(
    registry: Registry, service: Service, environment: dict[str, str], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept", encoding="utf-8")
    (registry.clone / "imageworks-plan.md").symlink_to(victim)
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    assert on_gitlab(registry, service, environment) == 0
    assert victim.read_text(encoding="utf-8") == "kept"
    assert len(service.ours) == 2


def test_x2_the_hooks_for_other_repositories_run_no_python_of_theirs(
    registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    canary = tmp_path / "hostile code ran"
    _plant(registry, canary)
    hooks = YAML(typ="safe").load(HOOKS)
    assert len(hooks) == 2
    for hook in hooks:
        program, *_ = shlex.split(hook["entry"])
        assert program == "imageworks-models"  # a console script; `python -m` would look into the checkout first
        words = " registry.yaml" if hook["pass_filenames"] else ""
        done = shell(hook["entry"] + words, registry.clone, environment)
        assert done.returncode in {0, 1}, done
        assert "Traceback" not in done.stderr
    assert not canary.exists()


def test_x2_all_that_the_templates_use_is_pinned_by_commit() -> None:
    workflow = load(WORKFLOW)
    jobs = workflow["jobs"]
    assert isinstance(jobs, dict)
    assert workflow.keys() & {"on", "env"} == {"on"}
    assert isinstance(workflow["on"], dict)
    assert set(workflow["on"]) == {"pull_request"}  # pull_request_target would have secrets beside a stranger's files
    steps = [step for job in jobs.values() for step in job["steps"]]
    for step in steps:
        assert re.fullmatch(r"[^@]+@[0-9a-f]{40}", step["uses"]), step
        assert "secrets." not in str(step.get("env"))
    (checkout,) = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] is False
    gitlab = load(GITLAB)["plan-models"]
    assert isinstance(gitlab, dict)
    assert re.fullmatch(r"git\+https://[^@]+@[0-9a-f]{40}", gitlab["variables"]["IMAGEWORKS_PACKAGE"])
    runs = load(ACTION)["runs"]
    assert isinstance(runs, dict)
    scripts = [step["run"] for step in runs["steps"]] + gitlab["before_script"] + gitlab["script"]
    for line in "\n".join(scripts).splitlines():
        assert not re.search(r"\bpython3?\b(?! -I\b)", line.partition("#")[0]), line
