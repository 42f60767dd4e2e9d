"""The templates for CI: their own shell steps, run against real git with a remote and the services' interfaces."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from imageworks.loopback_hub.server import HubServer
from support.git import git
from support.hub import HubRepository
from support.reconcile import HOST, MODEL, NAME, REPO
from support.warm import WARM

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
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
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
        self.merged = ""
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
        self.merged = git(self.checkout, "rev-parse", "HEAD").strip()
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


@pytest.fixture
def quick(tmp_path: Path, environment: dict[str, str]) -> dict[str, str]:
    """The same where neither what was installed nor how Python was started is looked at: both take a second a step."""
    for name in ("imageworks-models", "python"):
        (tmp_path / "programs" / name).unlink()
    WARM.write_starter(tmp_path / "programs/imageworks-models")
    installed = 'case "$*" in "-I -m pip install "*" imageworks-models") exit 0 ;; esac'
    (tmp_path / "programs/python").write_text(
        f"#!/bin/sh\n{installed}\nexec '{sys.executable}' \"$@\"\n", encoding="utf-8"
    )
    (tmp_path / "programs/python").chmod(0o755)
    return environment


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
        "GITHUB_EVENT_PATH": "",
        **environment,
        **{name: str(path) for name, path in files.items()},
        "RUNNER_TEMP": str(runner),
        "GITHUB_API_URL": service.url,
        "GITHUB_REPOSITORY": "acme/registry",
        "GITHUB_SHA": registry.merged,
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
    quick: dict[str, str],
) -> None:
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vlm\n")
    assert run(registry, service, quick) == 1
    [bad] = service.ours[1:]
    assert f"- `models/{NAME}.yaml:3:10: " in bad
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    assert run(registry, service, quick) == 0
    [good] = service.ours[1:]
    assert "#### Host `laptop`" in good
    linked = rf"\[`{NAME}`\]\(\.\./blob/[0-9a-f]{{40}}/models/{NAME}\.yaml\)"
    assert re.search(rf"^\| `\+` \| {linked} \| install \(missing\) \|", good, re.MULTILINE)
    assert len(service.comments) == 121
    assert service.comments[3]["body"] == f"{ANCHOR}\nquoted by a person"
    registry.merge()
    registry.write("models/README.md", "Nothing of a model.\n")
    assert run(registry, service, quick) == 0
    [nothing] = service.ours[1:]
    assert "No changes." in nothing.splitlines()
    assert f"`{HOST}`" not in nothing


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_a_comment_that_is_refused_fails_no_job(
    run: Callable[..., int],
    registry: Registry,
    service: Service,
    quick: dict[str, str],
) -> None:
    """Requests from forks have no token that may write."""
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\n")
    assert run(registry, service, quick, token="none") == 0  # noqa: S106 # no secret
    assert len(service.ours) == 1


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_x11_a_request_that_loosens_the_rules_needs_its_label(
    run: Callable[..., int], registry: Registry, service: Service, quick: dict[str, str]
) -> None:
    strict = f"{SETTINGS}policies: {{forbid_pickle: true, change_requires: [policy change]}}\n"
    registry.write("registry.yaml", strict)
    registry.merge()
    registry.write("registry.yaml", SETTINGS)
    assert run(registry, service, quick) == 1
    assert "**loosened or reaching further:** `policies.forbid_pickle`" in service.ours[1]
    assert run(registry, service, {**quick, "LABELS": "bug,policy change"}) == 0


def test_without_a_token_gitlab_is_not_asked(registry: Registry, service: Service, quick: dict[str, str]) -> None:
    registry.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\n")
    assert on_gitlab(registry, service, quick, token="") == 0
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
        *("python", "imageworks-models validate", "imageworks-models snapshot check", "imageworks-models reconcile")
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


def _installing(folder: Path, environment: Mapping[str, str]) -> tuple[dict[str, str], Path]:
    """Return an environment whose pip only writes down what it would install, and where."""
    programs, record = folder / "recording programs", folder / "installed"
    programs.mkdir()
    pip = f'case "$*" in *"-m pip"*) echo "$*" >> "{record}"; exit 0;; esac'
    (programs / "python").write_text(f"#!/bin/sh\n{pip}\nexec '{sys.executable}' \"$@\"\n", encoding="utf-8")
    (programs / "python").chmod(0o755)
    return {**environment, "PATH": f"{programs}:{environment['PATH']}"}, record


def _assert_only_by_hash(installed: list[str], package: str) -> None:
    needs, itself = installed
    assert "--require-hashes" in needs.split()
    assert needs.endswith(f"-r {package}/requirements/run.txt")
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(itself.split())
    assert itself.endswith(f" {package}")


def test_x2_the_action_installs_by_hash_and_from_its_own_commit(
    environment: dict[str, str], registry: Registry, tmp_path: Path
) -> None:
    env, record = _installing(tmp_path, environment)
    runs = load(ACTION)["runs"]
    assert isinstance(runs, dict)
    given = {"RUNNER_TEMP": str(tmp_path), "GITHUB_WORKSPACE": str(registry.clone), "PACKAGE": str(ROOT)}
    done = shell(runs["steps"][0]["run"], registry.clone, env | given)
    assert done.returncode == 0, done
    _assert_only_by_hash(record.read_text(encoding="utf-8").splitlines(), str(ROOT))


@pytest.mark.parametrize("right", [True, False])
def test_x2_the_gitlab_template_installs_by_hash_and_from_its_commit(
    environment: dict[str, str], registry: Registry, tmp_path: Path, right: bool
) -> None:
    env, record = _installing(tmp_path, environment)
    package = tmp_path / "package"
    (package / "requirements").mkdir(parents=True)
    (package / "requirements/run.txt").touch()
    git(tmp_path, "init", "--quiet", str(package))
    git(package, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(package, "add", "--all")
    git(package, "commit", "--quiet", "--message", "The version that was reviewed")
    commit = git(package, "rev-parse", "HEAD").strip() if right else "0" * 40
    job = load(GITLAB)["plan-models"]
    assert isinstance(job, dict)
    given = {"CI_PROJECT_DIR": str(registry.clone), "IMAGEWORKS_PACKAGE": f"git+file://{package}@{commit}"}
    script = "\n".join(job["before_script"])
    done = shell(script, registry.clone, env | given | {"TMPDIR": str(tmp_path)}, "sh", "-e")
    assert (done.returncode == 0) is right, done
    if right:
        lines = record.read_text(encoding="utf-8").splitlines()
        _assert_only_by_hash(lines, lines[1].rpartition(" ")[2])
    else:
        assert not record.exists()


def _pinned(file: str) -> dict[str, tuple[str, int]]:
    """Return each requirement's version and the number of its hashes."""
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8").replace("\\\n", " ")
    found = (re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in text.splitlines())
    return {one[1].lower(): (one[2], one.string.count("--hash=sha256:")) for one in found if one is not None}


def test_what_the_templates_install_is_what_the_tests_ran_with() -> None:
    run, dev = _pinned("run.txt"), _pinned("dev.txt")
    assert run.items() <= dev.items()
    assert all(hashes for _, hashes in run.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [re.match(r"[A-Za-z0-9._-]+", one) for one in project["project"]["dependencies"]]
    assert {one[0].lower().replace("_", "-").replace(".", "-") for one in declared if one} <= run.keys()
    assert {re.split(r"[>=<]", one)[0] for one in project["build-system"]["requires"]} <= run.keys()


def test_x11_a_label_with_a_comma_is_one_label(
    registry: Registry, service: Service, quick: dict[str, str], tmp_path: Path
) -> None:
    registry.write("registry.yaml", f"{SETTINGS}policies: {{change_requires: [policy-change]}}\n")
    registry.merge()
    registry.write("registry.yaml", SETTINGS)
    for names, code in ((["bug,policy-change"], 1), (["bug", "policy-change"], 0), ([], 1)):
        event = tmp_path / "event.json"
        event.write_text(json.dumps({"pull_request": {"labels": [{"name": name} for name in names]}}), encoding="utf-8")
        given = {"GITHUB_EVENT_PATH": str(event), "LABELS": ",".join(names)}
        assert on_github(registry, service, quick | given) == code, names


def test_x2_all_that_the_templates_use_is_pinned_by_commit() -> None:
    workflow = load(WORKFLOW)
    jobs = workflow["jobs"]
    assert isinstance(jobs, dict)
    assert workflow.keys() & {"on", "env"} == {"on"}
    assert isinstance(workflow["on"], dict)
    assert set(workflow["on"]) == {"pull_request"}  # pull_request_target would have secrets beside a stranger's files
    request = workflow["on"]["pull_request"]
    assert request.keys() == {"types"}  # a filter by paths would let changes of the rules go by
    assert {"synchronize", "labeled", "unlabeled", "edited"} <= set(request["types"])
    steps = [step for job in jobs.values() for step in job["steps"]]
    for step in steps:
        assert re.fullmatch(r"[^@]+@[0-9a-f]{40}", step["uses"]), step
        assert "secrets." not in str(step.get("env"))
    (checkout,) = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] is False
    gitlab = load(GITLAB)["plan-models"]
    assert isinstance(gitlab, dict)
    assert [rule.keys() for rule in gitlab["rules"]] == [{"if"}]
    assert re.fullmatch(r"git\+https://[^@]+@[0-9a-f]{40}", gitlab["variables"]["IMAGEWORKS_PACKAGE"])
    runs = load(ACTION)["runs"]
    assert isinstance(runs, dict)
    scripts = [step["run"] for step in runs["steps"]] + gitlab["before_script"] + gitlab["script"]
    for line in "\n".join(scripts).splitlines():
        assert not re.search(r"\bpython3?\b(?! -I\b)", line.partition("#")[0]), line


def clean(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return what a job's container gives: hardly anything, and a home that nobody has used."""
    home = folder / "a home of the container"
    home.mkdir(exist_ok=True)
    kept = ("PATH", "HF_ENDPOINT", "PIP_NO_INDEX", "PIP_CONFIG_FILE", "LABELS")
    return {**{key: environment[key] for key in kept if key in environment}, "HOME": str(home)}


class DefaultClone(Registry):
    """A registry whose checkout is as services make it when nobody asks for more: one commit, detached, not ours."""

    depth = 1

    def request(self) -> str:
        base = git(self.clone, "rev-parse", "origin/main").strip()
        git(self.clone, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/request")
        git(self.clone, "fetch", "--quiet", "origin")
        git(self.clone, "switch", "--quiet", "--detach", "origin/main")
        git(self.clone, "merge", "--quiet", "--no-ff", "-m", "Merge the request", "origin/request")
        git(self.clone, "push", "--quiet", "--force", "origin", "HEAD:refs/pull/1/merge")
        self.merged = git(self.clone, "rev-parse", "HEAD").strip()
        git(self.clone, "switch", "--quiet", "main")
        shutil.rmtree(self.checkout, ignore_errors=True)
        git(self.folder, "init", "--quiet", str(self.checkout))
        address = f"file://{self.remote}"
        git(self.checkout, "fetch", "--quiet", "--no-tags", f"--depth={self.depth}", address, "refs/pull/1/merge")
        git(self.checkout, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "12345", str(self.checkout)], check=True)
        return base


@pytest.fixture
def shallow(tmp_path: Path) -> DefaultClone:
    return DefaultClone(tmp_path)


@pytest.mark.parametrize("depth", [1, 20])
@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_g1_default_clones_are_green_for_what_is_right_and_red_for_what_is_wrong(
    run: Callable[..., int], depth: int, shallow: DefaultClone, service: Service, quick: dict[str, str]
) -> None:
    """Depth 1 and 20 are what GitHub and GitLab give; neither commits, nor credentials, nor the owner are ours."""
    shallow.depth = depth
    bare = clean(quick, shallow.folder)
    shallow.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    host = {"IMAGEWORKS_HOST": "workstation", "IMAGEWORKS_MODEL_ROOT": str(shallow.folder / "weights")}
    roots = Path.home() / ".config/imageworks/config.toml"
    roots.parent.mkdir(parents=True)
    roots.write_text(f'roots = ["{shallow.folder}"]\n', encoding="utf-8")
    program = shell("imageworks-models reconcile --yes --no-progress", shallow.clone, {**quick, **host})
    assert program.returncode == 0, program
    shallow.merge()
    shallow.write("models/asked.yaml", "schema_version: 1\nbackend: vllm\nroles: [caption]\n")
    assert run(shallow, service, bare) == 0
    [right] = service.ours[1:]
    assert ("is not in this shallow clone" in right) == (depth == 1)
    assert f"`{NAME}`" not in right or depth == 1
    shallow.write("models/asked.yaml", "schema_version: 1\nbackend: vlm\nroles: [caption]\n")
    assert run(shallow, service, bare) == 1
    assert "`models/asked.yaml:2:10: " in service.ours[1]


@pytest.mark.parametrize("run", [on_github, on_gitlab])
def test_g10_default_clones_know_that_entries_are_elsewhere(
    run: Callable[..., int], shallow: DefaultClone, service: Service, quick: dict[str, str]
) -> None:
    shallow.write("registry.yaml", f"{SETTINGS}commit: {{branch: 'state/{{host}}'}}\n")
    shallow.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\nbackend: vllm\n")
    shallow.merge()
    shallow.write("models/asked.yaml", "schema_version: 1\nbackend: vllm\nroles: [caption]\n")
    assert run(shallow, service, clean(quick, shallow.folder)) == 0
    assert "install (missing)" not in service.ours[1]
    assert "which is not in this clone" in service.ours[1]


def test_g1_the_templates_ask_for_the_history_and_say_why() -> None:
    steps = load(WORKFLOW)["jobs"]["plan"]["steps"]  # type: ignore[index]
    (checkout,) = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert checkout["with"]["fetch-depth"] == 0
    assert re.search(r"fetch-depth: 0 # .*base.*entries", WORKFLOW.read_text(encoding="utf-8"))
    job = load(GITLAB)["plan-models"]
    assert job["variables"]["GIT_DEPTH"] == "0"  # type: ignore[index]
    assert re.search(r'GIT_DEPTH: "0" # .*base.*entries', GITLAB.read_text(encoding="utf-8"))
