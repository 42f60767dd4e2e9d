"""Whether this machine can do what is asked of it: one result for each thing, each with a remedy. Writes nothing."""

import os
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from imageworks.files.errors import Aria2NotFoundError
from imageworks.files.mounts import largest_file, mount_of
from imageworks.files.safe_paths import free_bytes, nearest_existing
from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.foundation.errors import ImageworksError
from imageworks.git.controller_lock import FOLDER, LOCK_FILE, read_holder
from imageworks.git.libgit2 import signature
from imageworks.git.locate import locate
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import HostSettings, registry_to_make
from imageworks.operations.locations import ShownLocation, shown_locations
from imageworks.plan.checkup import CheckResult, note, well, wrong
from imageworks.providers.checkups import checkups
from imageworks.providers.dispatch import stores_spoken_of
from imageworks.providers.locations import why_unused
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.load import RegistryState
from imageworks.registry.snapshot_check import check_snapshots
from imageworks.transfer.aria2.process import find_aria2c

GIBI: Final = 1024**3
LITTLE_SPACE: Final = 5 * GIBI
VERSION_SECONDS: Final = 10
MOST_DOCUMENTS: Final = 5
GIT_LOCKS: Final = ("index.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock")


def examine(root: Path | None, host: HostSettings, *, offline: bool, asked: Path | None = None) -> list[CheckResult]:
    """Return what was found out; what cannot be looked at is a result too.

    Args:
        root: The registry, if there is one.
        host: This host's settings.
        offline: Whether no network is to be used.
        asked: Where the registry is said to be, if anywhere.
    """
    found = [*_isolated("aria2c", _aria2c), *_isolated("git", _git), *_isolated("settings", partial(_settings, host))]
    found += _isolated("state", partial(_state, host))
    if root is None:
        place = registry_to_make(asked)
        how = f"`imageworks-models init {shlex.quote(str(place))}` makes one there; so does the first download."
        found.append(note("registry", f"there is no registry yet at {place}", how))
        return [*found, *_isolated("hub", lambda: checkups(host, Counter(), {}, offline=offline))]
    found += _isolated("git-identity", partial(_identity, root))
    found += _isolated("locks", partial(_locks, root, host))
    found += _isolated("snapshot", partial(_snapshots, root, host))
    seen = _registry(root, host)
    roots = {name: root for root, name in seen.roots.items()}
    return [*found, *seen.results, *_isolated("hub", lambda: checkups(host, seen.models, roots, offline=offline))]


def _isolated(code: str, look: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """Return what a look found; one that fails is a finding, and stops no other."""
    found: list[CheckResult] = []
    try:
        found.extend(look())
    except (ImageworksError, OSError) as error:
        found.append(_failure(code, error))
    return found


def _failure(code: str, error: ImageworksError | OSError) -> CheckResult:
    if isinstance(error, ImageworksError):
        return wrong(code, error.message, error.remedy or f"Mend what is said of {code}, and run doctor again.")
    return wrong(code, f"{error.filename or code}: {error.strerror}", "Make it readable by you.")


def _aria2c() -> Iterator[CheckResult]:
    try:
        program = find_aria2c()
    except Aria2NotFoundError:
        yield wrong(
            "aria2c",
            "aria2c is not here, and downloads need it",
            "`imageworks-models doctor --install`; or `sudo apt install aria2`, `brew install aria2`, "
            "`conda install -c conda-forge aria2`",
        )
        return
    yield well("aria2c", f"{_version(program)} at {program}")


def _version(program: Path) -> str:
    try:
        said = subprocess.run(  # noqa: S603 # the program that downloads run
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageworksError(f"{program} does not run: {error}", remedy="Install aria2 anew.") from error
    return next(iter(said.stdout.splitlines()), "no version").removeprefix("aria2 version ")


def _git() -> Iterator[CheckResult]:
    program = shutil.which("git")
    if program is None:
        how = "Install git: `sudo apt install git`, `brew install git`."
        yield note("git", "the git program is not here; only --push, --pull and signatures need it", how)
    else:
        yield well("git", program)


def _settings(host: HostSettings) -> Iterator[CheckResult]:
    for warning in host.warnings:
        yield wrong("settings", warning, "Correct it in the file that it names; `imageworks-models config` shows all.")


def _state(host: HostSettings) -> Iterator[CheckResult]:
    place = nearest_existing(host.state_dir)
    if not os.access(place, os.W_OK):
        yield wrong("state", f"{place} cannot be written", "Make it writable by you, or set IMAGEWORKS_STATE_DIR.")
        return
    with StateDatabase.open(host.state_dir / STATE_FILE, read_only=True) as state:
        notes = state.notes
    yield from (note("state", text) for text in notes)
    yield well("state", str(host.state_dir))


def _identity(root: Path) -> Iterator[CheckResult]:
    layout, repository = locate(root)
    who = signature(repository, "")
    if who.email.startswith("controller@"):
        how = '`git config --global user.name "Your Name"`, `git config --global user.email you@example.org`'
        yield note("git-identity", "git knows no user.name and user.email; the controller commits in its own name", how)
    else:
        yield well("git-identity", f"{who.name} <{who.email}>, in {layout.worktree}")


def _locks(root: Path, host: HostSettings) -> Iterator[CheckResult]:
    """Yield who is at work, and locks of git that lie there; a run recovers those that nobody holds."""
    layout, _ = locate(root)
    for folder in (layout.common_dir, host.state_dir):
        holder = read_holder(folder / FOLDER / LOCK_FILE)
        if holder is not None:
            yield note(
                "locks", f"at work: {holder.command or 'a controller'} (process {holder.pid}) since {holder.since}"
            )
    left = [layout.common_dir / name for name in GIT_LOCKS if (layout.common_dir / name).exists()]
    for lock in left:
        how = "`imageworks-models reconcile` removes it where no process holds it."
        yield note("locks", f"{lock} is there: git is at work, or was killed", how)
    if not left:
        yield well("locks", "no lock of git is left over")


def _snapshots(root: Path, host: HostSettings) -> Iterator[CheckResult]:
    repository = RegistryRepository.open(root, host=host.host)
    problems = check_snapshots(repository, host.host, ParsedDocuments(cache_file(host.cache_dir, root))).problems
    repository.let_go()  # before the registry is opened once more
    for problem in problems[:MOST_DOCUMENTS]:
        yield wrong(
            "snapshot", problem.render(), "`imageworks-models snapshot rebuild` writes snapshots anew; commit them."
        )
    if not problems:
        yield well("snapshot", "every snapshot is what its manifests and entries give")


class _Registry(NamedTuple):
    """What a registry shows.

    Args:
        results: What is wrong with documents and locations.
        models: How many models each store has.
        roots: The names of locations by their roots.
    """

    results: Sequence[CheckResult]
    models: Counter[str]
    roots: Mapping[Path, str]


def _registry(root: Path, host: HostSettings) -> _Registry:
    try:
        with RecordSession.open(root, host, read_only=True) as ledger:
            manifests, entries = ledger.registry.manifests, ledger.registry.entries
            spoken_of = (stores_spoken_of(manifests.get(name), entries.get(name)) for name in {*manifests, *entries})
            models = Counter(chain.from_iterable(spoken_of))
            results = _isolated("registry", partial(_recorded, ledger, host))
            return _Registry(results, models, ledger.places.locations.roots)
    except (ImageworksError, OSError) as error:
        return _Registry([_failure("registry", error)], Counter(), {})


def _recorded(ledger: RecordSession, host: HostSettings) -> Iterator[CheckResult]:
    yield from _documents(ledger.registry)
    for one in shown_locations(ledger):
        yield from _location(one, host)


def _documents(registry: RegistryState) -> Iterator[CheckResult]:
    problems = registry.diagnostics
    for problem in problems[:MOST_DOCUMENTS]:
        yield wrong("documents", problem.render(), problem.remedy or "`imageworks-models validate` says more.")
    if len(problems) > MOST_DOCUMENTS:
        yield wrong("documents", f"{len(problems) - MOST_DOCUMENTS} more", "`imageworks-models validate` lists all.")
    if not problems:
        manifests = f"{registry.declared} manifest{'' if registry.declared == 1 else 's'}"
        entries = f"{len(registry.entries)} entr{'y' if len(registry.entries) == 1 else 'ies'}"
        yield well("documents", f"{manifests} and {entries}, all valid")


def _location(one: ShownLocation, host: HostSettings) -> Iterator[CheckResult]:
    name, root = one.name, one.state.root
    why = one.state.message if not one.state.present else why_unused(root, host)
    if why is not None:
        how = "Mount it or make it, or say in registry.yaml where it is on this host (`hosts`)."
        yield (wrong if one.models else note)("location", f"{name}: {root}: {why}", how)
        return
    place = nearest_existing(root)
    mount, free, largest = mount_of(place), free_bytes(place), largest_file(place)
    if not os.access(place, os.W_OK):
        yield wrong(
            "location", f"{name}: {place} cannot be written", "Make it writable by you, or choose another place."
        )
        return
    kind = f" on {mount.kind}" if mount.kind else ""
    if largest is not None:
        how = "Choose a location on another filesystem for larger ones."
        yield note("filesystem", f"{name}: {mount.path} takes no file above {largest / GIBI:.1f} GiB", how)
    if mount.is_remote_or_fuse:
        told = f"{name}: {mount.path} is {mount.kind}: links and renames are tried before each download"
        yield note("filesystem", told)
    if free is not None and free < LITTLE_SPACE:
        how = "`imageworks-models clean` and `imageworks-models remove NAME --delete-files` make room."
        yield wrong("space", f"{name}: {free / GIBI:.1f} GiB free at {place}", how)
        return
    room = "" if free is None else f", {free / GIBI:.1f} GiB free"
    yield well("location", f"{name}: {root}{kind}{room}")


def is_well(results: Sequence[CheckResult]) -> bool:
    """Return whether nothing has to change."""
    return all(result.standing.value != "wrong" for result in results)
