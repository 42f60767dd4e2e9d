"""What git says of commits' signatures, by the keys of the user's own configuration as they count today.

Git judges an ssh key by the date that the commit gives itself, which whoever has an expired key writes as he likes. So
git is given only those of the allowed keys that count now as well; gpg judges by today's clock itself.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imageworks.git.locate import RepositoryLocation
from imageworks.git.program import NO_VARIABLES, GitProgram, GitResult
from imageworks.git.trust.commit_header import CommitHeader
from imageworks.git.user_programs import LOCAL_SCOPES
from imageworks.git.values import UntrustedRegistryError

ALLOWED_KEYS: Final = "gpg.ssh.allowedSignersFile"
REVOKED_KEYS: Final = "gpg.ssh.revocationFile"
MINIMUM_TRUST: Final = "gpg.minTrustLevel"
TRUST_LEVELS: Final = ("undefined", "never", "marginal", "fully", "ultimate")
GOOD: Final = "G"  # of git's %G?: U is a good signature of a key that nobody allowed
TOO_LITTLE: Final = f"is signed with a key that is trusted less than {MINIMUM_TRUST} asks for"
UNSIGNED: Final = "is not signed"
MEANINGS: Final = {
    "N": UNSIGNED,
    "B": "has a bad signature, or one of a key that is expired or revoked",
    "U": "is signed with a key that is not among the allowed ones",
    "E": "has a signature that cannot be checked: the key is missing, or no allowed keys are configured",
    "X": "has a signature that has expired",
    "Y": "is signed with a key that has expired",
    "R": "is signed with a key that was revoked",
}
_ARMOURS: Final = {
    "-----BEGIN SSH SIGNATURE-----": "ssh",
    "-----BEGIN PGP SIGNATURE-----": "gpg",
    "-----BEGIN PGP MESSAGE-----": "gpg",
}
_MOST_COMMITS: Final = 200
_LOG: Final = ("log", "--no-walk=unsorted", "--no-show-signature")
_CERTIFICATES: Final = re.compile(r"(?:^|[\s,])cert-authority(?:[\s,]|$)", re.IGNORECASE)
_VALIDITY: Final = re.compile(r'valid-(after|before)="([^"]*)"', re.IGNORECASE)
_CANNOT_RUN: Final = re.compile(r"cannot (?:run|exec) '?(?P<program>[^:']+)'?: ")


def signature_problems(
    git: GitProgram,
    layout: RepositoryLocation,
    commits: Mapping[str, CommitHeader],
    *,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> dict[str, str]:
    """Return what is wrong with the signatures of some commits; those of allowed keys are not in the answer."""
    found = {commit: problem for commit, header in commits.items() if (problem := _odd(header))}
    asked = [commit for commit in commits if commit not in found]
    if not asked:
        return found
    with_ssh = any(_ARMOURS[commits[commit].signatures[0]] == "ssh" for commit in asked)
    least = _level(_users(git, MINIMUM_TRUST).lower())
    with _settings(git, layout, with_ssh=with_ssh) as settings:
        for first in range(0, len(asked), _MOST_COMMITS):
            some = asked[first : first + _MOST_COMMITS]
            answer = git.run(*settings, *_LOG, "--format=%H %G?", *some, variables=variables)
            verdicts = _by_commit(answer)
            bad = {one: verdict for one in some if (verdict := verdicts.get(one, "E")) != GOOD}
            found |= {commit: MEANINGS.get(verdict, MEANINGS["E"]) for commit, verdict in bad.items()}
            if bad:
                _refuse_missing_program(answer)
            good = [commit for commit in some if commit not in bad]
            if good and least:  # git 2.39 ends where it is asked for the trust in an expired key
                trust = _by_commit(git.run(*settings, *_LOG, "--format=%H %GT", *good, variables=variables))
                found |= {commit: TOO_LITTLE for commit in good if _level(trust.get(commit, "")) < least}
    return found


def _by_commit(answer: GitResult) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in answer.out.splitlines() if " " in line)


def _level(trust: str) -> int:
    return TRUST_LEVELS.index(trust) if trust in TRUST_LEVELS else 0


def _odd(header: CommitHeader) -> str:
    """Return what is wrong with a signature before anybody is asked; empty for one that git may judge."""
    if not header.signatures:
        return UNSIGNED
    if len(header.signatures) > 1:
        return "has more than one signature"
    if header.signatures[0].strip() not in _ARMOURS:
        return "is signed in another way than with ssh or gpg, such as with an X.509 certificate, which does not count"
    return ""


def _users(git: GitProgram, key: str) -> str:
    """Return what the user's own configuration says last of a setting; empty where only the clone's says anything."""
    own = [one.value for one in git.settings if one.key == key.lower() and one.scope not in LOCAL_SCOPES]
    return own[-1] if own else ""


@contextmanager
def _settings(git: GitProgram, layout: RepositoryLocation, *, with_ssh: bool) -> Iterator[tuple[str, ...]]:
    """Yield what git's command line says of keys: those that count now, in a file that nobody else can change."""
    if not with_ssh:
        yield ()
        return
    allowed, revoked = (_key_file(git, layout, key) for key in (ALLOWED_KEYS, REVOKED_KEYS))
    if allowed is None:
        yield ()
        return
    if revoked is not None:
        _read(revoked, REVOKED_KEYS)  # git itself only warns of a missing one, and then nothing is revoked
    now = datetime.now(UTC)
    lines = _read(allowed, ALLOWED_KEYS).decode("utf-8", "surrogateescape").split("\n")
    with temporary_folder() as folder:
        counting = folder / "allowed-signers"
        text = "".join(f"{line}\n" for line in lines if _counts(line, now))
        try:
            counting.write_text(text, encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise _no_room(error) from error
        yield ("-c", f"{ALLOWED_KEYS}={counting}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that nobody else can look into, and that is gone afterwards."""
    try:
        made = tempfile.TemporaryDirectory(prefix="signatures-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from error
    with made as folder:
        yield Path(folder)


def _no_room(error: OSError) -> UntrustedRegistryError:
    return UntrustedRegistryError(
        f"signatures cannot be checked or made without temporary files: {error.strerror}",
        remedy="Make room there, or name another folder: TMPDIR=PATH",
    )


def _work_trees(layout: RepositoryLocation) -> Iterator[Path]:
    """Yield every folder that holds files of the repository: its git folder and each of its work trees."""
    yield from (layout.worktree, layout.git_dir, layout.common_dir)
    if layout.common_dir.name == ".git":
        yield layout.common_dir.parent
    for marker in layout.common_dir.glob("worktrees/*/gitdir"):
        yield Path(marker.read_text(encoding="utf-8").strip()).parent


def _key_file(git: GitProgram, layout: RepositoryLocation, key: str) -> Path | None:
    """Return a file of keys that the user's own configuration names; ``None`` without one."""
    if not _users(git, key):
        theirs = [one.value for one in git.settings if one.key == key.lower()]
        if theirs:
            raise UntrustedRegistryError(
                f"{layout.worktree}: its own git configuration names the keys ({key}) that are to judge it",
                remedy=f"Name them in yours: git config --global {key} '{theirs[-1]}'",
            )
        return None
    named = git.run("config", "--type=path", "--get", key).out.strip()
    file = Path(os.path.realpath(layout.worktree / named))
    if any(file.is_relative_to(os.path.realpath(place)) for place in _work_trees(layout)):
        raise UntrustedRegistryError(
            f"{named}: the list of keys ({key}) lies in the repository whose commits it is to judge",
            remedy=f"Copy it out of there and name that: git config --global {key} ~/.ssh/allowed_signers",
        )
    return file


def _read(file: Path, key: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UntrustedRegistryError(
            f"{file}: cannot be read ({error.strerror}), and git's settings name it as {key}",
            remedy=f"Put it there, or name another: git config --global {key} PATH",
        ) from error


def _counts(line: str, now: datetime) -> bool:
    """Return whether an allowed key counts now; one whose dates cannot be read does not.

    Nor do certificates: when one ends stands in itself, which git holds against the commit's date.
    """
    if _CERTIFICATES.search(line):
        return False
    for which, text in _VALIDITY.findall(line):
        moment = _moment(text)
        if moment is None or (now < moment) == (which.lower() == "after"):
            return False
    return True


def _moment(text: str) -> datetime | None:
    """Return the time that ssh-keygen takes a text for: a day or more of a time, local unless it ends in Z."""
    digits = text.removesuffix("Z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        moment = datetime.strptime(digits, form)  # noqa: DTZ007 # the zone follows
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if text.endswith("Z") else moment.astimezone()


def _refuse_missing_program(answer: GitResult) -> None:
    found = _CANNOT_RUN.search(answer.errors)
    if found is not None:
        program = found["program"]
        raise UntrustedRegistryError(
            f"git cannot run {program}, which verifies signatures",
            remedy="Install it (gnupg for gpg, openssh-client for ssh-keygen), or name it: git config --global "
            "gpg.program PATH (gpg.ssh.program for ssh).",
        )
