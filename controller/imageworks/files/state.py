"""What this host remembers of files on its disk: which content was verified at which path, and when a model was used.

A cache in SQLite, outside git: losing it costs hashing time, never data. A file that cannot be read as a database is
set aside and a new one begun; one that a later version wrote is not, for nothing else knows which disks and files are
this host's. Rollback journalling is used because a reader then leaves no trace on the disk.
"""

import os
import stat as modes
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from imageworks.files.digests import Algorithm, Digest
from imageworks.foundation.closing import Closing
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.private_files import ForeignFolderError, make_private_folder, open_private_file

if TYPE_CHECKING:
    import sqlite3

STATE_FILE = "state.sqlite3"
SCHEMA_VERSION = 3
TABLES: Final = frozenset({"fingerprints", "locations", "published", "accesses"})
BUSY_SECONDS = 30.0
_LOCATIONS = """
CREATE TABLE IF NOT EXISTS locations (
    root BLOB PRIMARY KEY, name TEXT NOT NULL, marker TEXT, device TEXT, inode TEXT, renumbers INTEGER NOT NULL,
    mounted INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS fingerprints (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode BLOB NOT NULL, device BLOB NOT NULL,
    sha256 TEXT, git_blob TEXT, ctime_ns INTEGER
) WITHOUT ROWID;
{_LOCATIONS}
CREATE INDEX IF NOT EXISTS fingerprints_by_sha256 ON fingerprints (sha256) WHERE sha256 IS NOT NULL;
CREATE TABLE IF NOT EXISTS published (path BLOB PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accesses (name TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""
# Version 2 knew no ctime: what it verified is believed as it was then, until a run that may write looks at it again.
_FROM_VERSION_2 = f"""
ALTER TABLE fingerprints ADD COLUMN ctime_ns INTEGER;
{_LOCATIONS}
PRAGMA user_version = {SCHEMA_VERSION};
"""


class StateError(ImageworksError):
    """The state database cannot be opened or written."""

    def __init__(self, path: Path | None, why: object, *, remedy: str | None = None) -> None:
        usual = (
            f"free some space on the filesystem of {path.parent if path else 'its folder'} and run again"
            if "disk is full" in str(why)
            else "make its folder writable, or set another state folder in the configuration"
        )
        super().__init__(f"{path or 'state database'}: {why}", remedy=remedy or usual)


class LaterStateError(StateError):
    """A later version of this program wrote the state database: this one can neither read nor replace it."""

    def __init__(self, path: Path | None, version: int) -> None:
        super().__init__(
            path,
            f"a later version of imageworks-models wrote it (its version is {version}, known is {SCHEMA_VERSION})",
            remedy="use that version again, or set another state folder (IMAGEWORKS_STATE_DIR); nothing was changed",
        )


class Numbers(NamedTuple):
    """Which of the numbers that tell files apart hold from one mount of a disk to the next.

    Args:
        device: Whether the device number does.
        inode: Whether inode numbers do.
    """

    device: bool
    inode: bool


STABLE: Final = Numbers(device=True, inode=True)


class Remembered(NamedTuple):
    """What this host remembers of the root of a location.

    Args:
        root: The root, as it is written.
        name: The location's name.
        marker: The id of the marker that stands there; ``None`` where none could be written, or none is expected.
        device: The device number of the marker, or of the root where there is no marker; ``None`` when anything may be
            at the root, because a person said so.
        inode: The marker's inode number.
        renumbers: Whether inode numbers were seen to change while the marker stayed.
        mounted: Whether it is no location but the mount point of a disk with models outside of all locations.
    """

    root: Path
    name: str
    marker: str | None
    device: str | None
    inode: str | None
    renumbers: bool
    mounted: bool = False


class Fingerprint(NamedTuple):
    """What a file looked like when its content was hashed; a tuple, because reconcile loads tens of thousands."""

    path: str
    size: int
    mtime_ns: int
    inode: str
    device: str
    sha256: str | None
    git_blob: str | None
    ctime_ns: int | None = None

    def matches(self, stat: os.stat_result, numbers: Numbers = STABLE) -> bool:
        """Whether the file still looks the same, so that its digests still hold."""
        return (
            self.size == stat.st_size
            and self.mtime_ns == stat.st_mtime_ns
            # The times of a file are anybody's to set back, but for this one.
            and (self.ctime_ns is None or self.ctime_ns == stat.st_ctime_ns)
            and (self.inode == str(stat.st_ino) or not numbers.inode)
            and (self.device == str(stat.st_dev) or not numbers.device)
        )

    def renewed(self, path: str | Path, stat: os.stat_result) -> Self:
        """Return the same of a file whose digests still hold, although it looks otherwise than when it was hashed."""
        device = sys.intern(str(stat.st_dev))
        return self._replace(path=str(path), inode=str(stat.st_ino), device=device, ctime_ns=stat.st_ctime_ns)


def fingerprint_of(path: str | Path, stat: os.stat_result, digest: Digest | None = None) -> Fingerprint:
    """Return what a file looks like that was just hashed, or is to be."""
    large = digest is not None and digest.algorithm is Algorithm.SHA256
    return Fingerprint(
        str(path),
        stat.st_size,
        stat.st_mtime_ns,
        str(stat.st_ino),  # as text: Windows drives have 64-bit unsigned ones, SQLite does not
        sys.intern(str(stat.st_dev)),  # looking at ten thousand models may hash fifty thousand files
        digest.value if digest is not None and large else None,
        digest.value if digest is not None and not large else None,
        stat.st_ctime_ns,
    )


class StateDatabase(Closing):
    """The host's memory of verified files; open it with ``StateDatabase.open`` and close it, or use it in ``with``."""

    def __init__(self, connection: "sqlite3.Connection", path: Path | None, notes: tuple[str, ...] = ()) -> None:
        self._connection = connection
        self._path = path
        self._lock = RLock()
        self.notes = notes
        """What a person should know, such as that a corrupt database was set aside."""

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open the database, making it when absent; one that cannot be read is set aside and begun anew."""
        import sqlite3

        if read_only:
            if not os.path.lexists(path):
                return cls(_connect(":memory:"), None)
            try:
                _check_plain(path)
                return cls(_connect(f"{path.absolute().as_uri()}?mode=ro", path), None)
            except LaterStateError:
                raise
            except (sqlite3.DatabaseError, OSError, StateError):
                note = f"{path} cannot be read: nothing is known of this host's files and disks"
                return cls(_connect(":memory:"), None, (note,))
        try:
            make_private_folder(path.parent)
            _check_plain(path)
            _close_to_others(path)
            return cls(_connect(str(path), path), path)
        except (sqlite3.OperationalError, OSError) as error:
            raise StateError(path, error) from error
        except ForeignFolderError as error:
            raise StateError(path, error.message, remedy=error.remedy) from error
        except sqlite3.DatabaseError:
            note = _set_aside(path)
            _close_to_others(path)
            return cls(_connect(str(path), path), path, (note,))

    def close(self) -> None:
        """Close the database; nothing is pending, each change was committed as it was made."""
        with self._lock:
            self._connection.close()

    def check_writable(self) -> None:
        """Write nothing of meaning, to know before anything is fetched that what comes of it can be remembered."""
        with self._transaction() as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def writes_of_others(self) -> int | None:
        """Return a number that is another one once any other process has changed what is remembered."""
        rows = self._select("PRAGMA data_version", ())
        return rows[0][0] if rows else None

    def remember(self, path: Path, stat: os.stat_result, digest: Digest) -> None:
        """Record what a file's content was verified to be."""
        self.remember_all([(path, stat, digest)])

    def remember_all(self, verified: Iterable[tuple[Path, os.stat_result, Digest]]) -> None:
        """Record many files in one transaction; a digest of the other algorithm is kept while the file is the same."""
        self.keep(fingerprint_of(path, stat, digest) for path, stat, digest in verified)

    def keep(self, known: Iterable[Fingerprint]) -> None:
        """Record what is known of many files, as `remember_all` does."""
        statement = """
            INSERT INTO fingerprints (path, size, mtime_ns, ctime_ns, inode, device, sha256, git_blob)
            VALUES (:path, :size, :mtime_ns, :ctime_ns, :inode, :device, :sha256, :git_blob)
            ON CONFLICT (path) DO UPDATE SET
                sha256 = CASE WHEN :sha256 IS NULL AND size = :size AND mtime_ns = :mtime_ns
                    AND COALESCE(ctime_ns, :ctime_ns) = :ctime_ns AND inode = :inode
                    AND device = :device THEN sha256 ELSE :sha256 END,
                git_blob = CASE WHEN :git_blob IS NULL AND size = :size AND mtime_ns = :mtime_ns
                    AND COALESCE(ctime_ns, :ctime_ns) = :ctime_ns AND inode = :inode
                    AND device = :device THEN git_blob ELSE :git_blob END,
                size = :size, mtime_ns = :mtime_ns, ctime_ns = :ctime_ns, inode = :inode, device = :device
        """
        rows = (  # made as they are written: fifty thousand take 45 MB
            {
                "path": os.fsencode(one.path),
                "size": one.size,
                "mtime_ns": one.mtime_ns,
                "ctime_ns": one.ctime_ns,
                "inode": one.inode,
                "device": one.device,
                "sha256": one.sha256,
                "git_blob": one.git_blob,
            }
            for one in known
        )
        with self._transaction() as connection:
            connection.executemany(statement, rows)

    def relinked(self, before: Iterable[os.stat_result]) -> None:
        """Keep what is known of files that got or lost a name through us: that alone moves their ctime."""
        for old in before:
            rows = self._select(
                f"SELECT {_COLUMNS} FROM fingerprints WHERE inode = ? AND device = ? AND ctime_ns = ?",  # noqa: S608
                (str(old.st_ino), str(old.st_dev), old.st_ctime_ns),
            )
            renewed = []
            for known in map(_fingerprint, rows):
                try:
                    now = os.lstat(known.path)
                except OSError:
                    continue
                if known._replace(ctime_ns=None).matches(now):
                    renewed.append(known.renewed(known.path, now))
            if renewed:
                self.keep(renewed)

    def locations(self) -> list[Remembered]:
        """Return what is remembered of the roots of locations."""
        rows = self._select(
            "SELECT root, name, marker, device, inode, renumbers, mounted FROM locations ORDER BY root", ()
        )
        return [
            Remembered(Path(os.fsdecode(root)), name, marker, device, inode, bool(renumbers), bool(mounted))
            for root, name, marker, device, inode, renumbers, mounted in rows
        ]

    def remember_location(self, location: Remembered) -> None:
        """Record which disk stands at the root of a location."""
        row = (os.fsencode(location.root), *location[1:5], int(location.renumbers), int(location.mounted))
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO locations VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def forget(self, paths: Iterable[Path]) -> None:
        """Drop what is known of these files."""
        rows = [(os.fsencode(path),) for path in paths]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM fingerprints WHERE path = ?", rows)

    def claim(self, published: Iterable[tuple[Path, str]]) -> None:
        """Record files that this host's controller puts in place."""
        rows = [(os.fsencode(path), sha256) for path, sha256 in published]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO published VALUES (?, ?)", rows)

    def disclaim(self, paths: Iterable[Path]) -> None:
        """Drop the claim to files that were removed or moved away."""
        rows = [(os.fsencode(path),) for path in paths]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM published WHERE path = ?", rows)

    def claimed(self, path: Path) -> str | None:
        """Return the sha256 that was put at a path by this host's controller; ``None`` when it put nothing there."""
        rows = self._select("SELECT sha256 FROM published WHERE path = ?", (os.fsencode(path),))
        return rows[0][0] if rows else None

    def load_below(self, folder: Path) -> dict[str, Fingerprint]:
        """Return everything known of the files below a folder, by their absolute paths."""
        return {known.path: known for known in self.each_below(folder)}

    def each_below(self, folder: Path) -> Iterator[Fingerprint]:
        """Yield the same, of which 100,000 take 60 MiB."""
        last = os.fsencode(folder).rstrip(b"/") + b"/"
        end = last[:-1] + b"0"
        statement = f"SELECT {_COLUMNS} FROM fingerprints WHERE path > ? AND path < ? ORDER BY path LIMIT ?"  # noqa: S608
        while rows := self._select(statement, (last, end, _PAGE)):
            yield from map(_fingerprint, rows)
            last = rows[-1][0]

    def fingerprint(self, path: Path) -> Fingerprint | None:
        """Return what is known of one file."""
        rows = self._select(f"SELECT {_COLUMNS} FROM fingerprints WHERE path = ?", (os.fsencode(path),))  # noqa: S608
        return _fingerprint(rows[0]) if rows else None

    def verified_digest(self, path: Path, stat: os.stat_result) -> str | None:
        """Return a file's sha256, or ``None`` when it is not known or the file has changed since."""
        known = self.fingerprint(path)
        return known.sha256 if known is not None and known.matches(stat) else None

    def locate(self, sha256: str) -> list[Path]:
        """Return the regular files that hold this content, each looked at again: none that changed since."""
        rows = self._select(f"SELECT {_COLUMNS} FROM fingerprints WHERE sha256 = ? ORDER BY path", (sha256,))  # noqa: S608
        found = []
        for known in map(_fingerprint, rows):
            path = Path(known.path)
            try:
                if known.matches(path.lstat()):
                    found.append(path)
            except OSError:
                continue  # gone, or on a drive that is not there now
        return found

    def last_accessed(self, name: str) -> str | None:
        """Return when a model was last used, as it was set."""
        rows = self._select("SELECT at FROM accesses WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def all_last_accessed(self) -> dict[str, str]:
        """Return when each model was last used."""
        return dict(self._select("SELECT name, at FROM accesses", ()))

    def set_last_accessed(self, name: str, at: str) -> None:
        """Record when a model was last used."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO accesses VALUES (?, ?)", (name, at))

    def _select(self, statement: str, parameters: tuple[object, ...]) -> list[Any]:
        import sqlite3

        with self._lock:
            try:
                return self._connection.execute(statement, parameters).fetchall()
            except sqlite3.OperationalError as error:
                raise StateError(self._path, error) from error
            except sqlite3.DatabaseError:
                self._begin_anew()
                return []

    @contextmanager
    def _transaction(self) -> "Iterator[sqlite3.Connection]":
        """Give the connection inside one transaction; a database found corrupt loses it and is begun anew."""
        import sqlite3

        with self._lock:
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.OperationalError as error:
                raise StateError(self._path, error) from error
            except sqlite3.DatabaseError:
                self._begin_anew()

    def _begin_anew(self) -> None:
        self._connection.close()
        if self._path is not None:
            self.notes = (*self.notes, _set_aside(self._path))
        self._connection = _connect(":memory:" if self._path is None else str(self._path), self._path)


_COLUMNS: Final = "path, size, mtime_ns, inode, device, sha256, git_blob, ctime_ns"
_PAGE: Final = 1000


def _fingerprint(row: tuple[Any, ...]) -> Fingerprint:
    return Fingerprint(os.fsdecode(row[0]), *row[1:])


def _connect(target: str, path: Path | None = None) -> "sqlite3.Connection":
    import sqlite3

    reads = target.startswith("file:")
    connection = sqlite3.connect(target, uri=reads, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and not reads:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif version == SCHEMA_VERSION - 1:
            if reads:  # brought up to date in memory: nothing is written
                copy = sqlite3.connect(":memory:", check_same_thread=False)
                connection.backup(copy)
                connection.close()
                connection = copy
            _migrate(connection)
        elif version > SCHEMA_VERSION:
            raise LaterStateError(path, version)
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"the state database has schema version {version}, expected {SCHEMA_VERSION}")
        if not {name for (name,) in connection.execute("SELECT name FROM sqlite_master")} >= TABLES:
            raise sqlite3.DatabaseError("the state database lacks tables")
    except (sqlite3.Error, StateError):
        connection.close()
        raise
    return connection


def _check_plain(path: Path) -> None:
    """Refuse what is no file: SQLite would wait for ever for who writes into a pipe, and no signal ends that."""
    with suppress(FileNotFoundError):
        if not modes.S_ISREG(path.stat().st_mode):
            raise StateError(path, "not a plain file", remedy="move it away, and run again")


def _close_to_others(path: Path) -> None:
    """Make the database for this user alone, before SQLite does by the umask; its journal gets the same rights."""
    os.close(open_private_file(path, os.O_RDWR | os.O_CREAT))


def _migrate(connection: "sqlite3.Connection") -> None:
    """Bring a database of the version before up to date, unless another process just did."""
    usual, connection.isolation_level = connection.isolation_level, None
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION - 1:
        for statement in _FROM_VERSION_2.split(";"):
            connection.execute(statement)
    connection.execute("COMMIT")
    connection.isolation_level = usual


def _set_aside(path: Path) -> str:
    """Move an unreadable database out of the way, with its journal, and return a note about it."""
    kept = path.with_name(f"{path.name}.corrupt")
    path.replace(kept)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    return f"{path} could not be read as a database: kept as {kept.name}, and begun anew"
