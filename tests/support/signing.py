"""Keys of people, and git set up to sign with them and to allow them; nothing of the developer's own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import World

PASSPHRASE = "a secret"  # noqa: S105 # of keys that tests make
REQUIRED = {"git": {"require_signed": True}}


class Signers:
    """People with ssh keys, who sign commits of one registry.

    Args:
        world: The registry.
        folder: Where the keys lie.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self.allowed = folder / "allowed signers"
        self.allowed.write_text("", encoding="utf-8")
        settings = {"gpg.format": "ssh", "gpg.ssh.allowedSignersFile": self.allowed, "user.signingkey": self.key("ada")}
        for name, value in settings.items():
            git(folder, "config", "--global", name, str(value))
        self.allow("ada")

    def key(self, name: str, *, locked: bool = False) -> Path:
        """Return somebody's key, made on first use."""
        key = self._folder / f"key of {name}"
        if not key.exists():
            words = ("-q", "-t", "ed25519", "-N", PASSPHRASE if locked else "", "-C", name, "-f", str(key))
            subprocess.run(["ssh-keygen", *words], check=True)
        return key

    def allow(self, name: str, options: str = "") -> None:
        """Let somebody's signatures count."""
        public = Path(f"{self.key(name)}.pub").read_text(encoding="utf-8")
        with self.allowed.open("a", encoding="utf-8") as file:
            file.write(f"{name}@example.org {options} {public}")

    def commit(self, message: str = "Vouch", *, by: str = "ada", date: str = "") -> None:
        """Sign all that stands in the work tree, or nothing but what was before."""
        git(self._world.git_root, "add", "--all")
        self._sign(("commit", "--quiet", "--allow-empty", "-S", "--message", message), by, date)

    def amend(self, *, by: str = "ada", date: str = "") -> None:
        """Sign the last commit."""
        self._sign(("commit", "--quiet", "--amend", "--no-edit", "-S"), by, date)

    def merge(self, *words: str, by: str = "ada") -> None:
        """Merge, with a signature on what comes of it."""
        self._sign(("merge", "--quiet", "--no-ff", "--no-edit", "-S", *words), by, "")

    def _sign(self, words: tuple[str, ...], by: str, date: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if date:
                patch.setenv("GIT_COMMITTER_DATE", date)
                patch.setenv("GIT_AUTHOR_DATE", date)
            git(self._world.git_root, "-c", f"user.signingkey={self.key(by)}", *words)


def signers(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Signers:
    """Return people who sign with ssh keys, in a git configuration of a user of its own."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
    return Signers(world, folder)


@contextmanager
def gpg_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give gpg a home of its own, whose agent ends with it."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = Path(tempfile.mkdtemp(prefix="gpg-"))  # gpg's socket does not fit into a long path
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        yield home
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(home)}, check=False)
        shutil.rmtree(home, ignore_errors=True)


def gpg_key(*words: str, expires: str = "0", locked: bool = False) -> None:
    """Make a key of ada@example.org."""
    kind = "Key-Type: eddsa\nKey-Curve: ed25519\nName-Email: ada@example.org"
    secret = f"Passphrase: {PASSPHRASE}" if locked else "%no-protection"
    made = f"{kind}\n{secret}\nExpire-Date: {expires}\n%commit\n"
    command = ["gpg", "--batch", "--quiet", *words, "--gen-key"]
    done = subprocess.run(command, input=made.encode(), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
