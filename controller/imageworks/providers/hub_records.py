"""A repository at one commit as values, read from a hub's JSON with every claim checked that can be checked offline."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeGuard

from imageworks.foundation.json_reading import read_json
from imageworks.providers.hub_errors import InconsistentListingError, RepositoryNotFoundError, UnexpectedReplyError
from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.names import check_names

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
MOST_SIBLINGS: Final = 50_000
"""From so many files on, a hub may leave some out of what it says with the commit."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ResolvedRevision:
    """One commit of one repository, and what its hub says of it.

    Args:
        repo: The repository's present name, also when it was asked for under an older one.
        commit: 40 hexadecimal digits.
        ref: The branch, tag or commit as it was asked for.
        private: Only some accounts see it.
        gated: Its conditions must be accepted before any file is given.
        disabled: The hub took it down.
        license: The licence's identifier, as the card says.
        tags: The hub's tags.
        pipeline_tag: The task, such as ``text-generation``.
        library_name: The library it is made for.
        last_modified: When, as the hub writes it.
        card: The model card's front matter.
        siblings: The paths of all files, as the hub says them with the commit; ``None`` where it does not.
    """

    repo: str
    commit: str
    ref: str
    private: bool
    gated: bool
    disabled: bool
    license: str | None
    tags: tuple[str, ...]
    pipeline_tag: str | None
    library_name: str | None
    last_modified: str | None
    card: Mapping[str, object]
    siblings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file of a repository at one commit.

    Args:
        repo: The repository's name.
        commit: 40 hexadecimal digits.
        files: Sorted by path.
        confirmed: Whether the hub names the same files with the commit itself, so that none is known to be missing.
    """

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    confirmed: bool = True

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class HubCommit:
    """One commit of a repository's history.

    Args:
        commit: 40 hexadecimal digits.
        title: The first line of its message.
        date: When it was made; ``None`` where the hub does not say it in a way that can be read.
    """

    commit: str
    title: str
    date: datetime | None


def checked_repository(repo: str) -> str:
    """Return a repository's name when it can be one; it becomes part of URLs and paths.

    Args:
        repo: ``owner/name``, or the single name of an old one.

    Raises:
        RepositoryNotFoundError: It cannot name a repository.
    """
    if not _REPOSITORY.fullmatch(repo) or ".." in repo or repo.endswith((".git", ".")):
        raise RepositoryNotFoundError(
            f"{repo!r} cannot be the name of a repository", remedy="Write it as owner/name, as the hub's page shows it."
        )
    return repo


def read_reply(body: bytes, url: str) -> object:
    """Return the JSON of an answer.

    Args:
        body: What came.
        url: What was asked, for the message.

    Raises:
        UnexpectedReplyError: It is no JSON.
    """
    try:
        return read_json(body)
    except ValueError:
        raise UnexpectedReplyError(
            f"{url}: the answer is not JSON", remedy="Check HF_ENDPOINT: it must be a hub, not a web page."
        ) from None


def read_revision(answer: object, *, ref: str, url: str) -> ResolvedRevision:
    """Return what a hub's model information says.

    Args:
        answer: The decoded JSON.
        ref: What was asked for.
        url: Where it came from, for messages.

    Raises:
        UnexpectedReplyError: The name or the commit is missing or malformed.
    """
    if not isinstance(answer, dict):
        raise UnexpectedReplyError(f"{url}: the answer is not an object")
    repo, commit = answer.get("id"), answer.get("sha")
    if not isinstance(repo, str) or not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise UnexpectedReplyError(f"{url}: the answer has no repository id or no commit")
    if COMMIT.fullmatch(ref) and commit != ref:
        raise InconsistentListingError(f"{url}: commit {ref} was asked for, and the hub answered with {commit}")
    card = answer.get("cardData")
    card = card if isinstance(card, dict) else {}
    tags = answer.get("tags")
    tags = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return ResolvedRevision(
        repo=checked_repository(repo),
        commit=commit,
        ref=ref,
        private=answer.get("private") is True,
        gated=answer.get("gated") not in (None, False),
        disabled=answer.get("disabled") is True,
        license=_license(card, tags),
        tags=tags,
        pipeline_tag=_text(answer.get("pipeline_tag")),
        library_name=_text(answer.get("library_name")),
        last_modified=_text(answer.get("lastModified")),
        card=card,
        siblings=_siblings(answer.get("siblings"), url),
    )


def read_commits(entries: list[object], *, url: str) -> list[HubCommit]:
    """Return the commits of one page of a history.

    Args:
        entries: The decoded JSON.
        url: Where it came from, for messages.

    Raises:
        UnexpectedReplyError: An entry has no commit.
    """
    commits = []
    for entry in entries:
        commit = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise UnexpectedReplyError(f"{url}: an entry of the history has no commit")
        commits.append(HubCommit(commit, _text(entry.get("title")) or "", read_date(entry.get("date"))))
    return commits


def read_references(answer: object) -> tuple[str, ...]:
    """Return the names of branches and tags, without what is malformed.

    Args:
        answer: The decoded JSON.
    """
    groups = [answer.get(key) for key in ("branches", "tags")] if isinstance(answer, dict) else []
    entries = [entry for group in groups if isinstance(group, list) for entry in group if isinstance(entry, dict)]
    return tuple(entry["name"] for entry in entries if isinstance(entry.get("name"), str))


def read_date(value: object) -> datetime | None:
    """Return a date as hubs write it, with its zone; ``None`` for anything else.

    Args:
        value: ISO 8601, UTC where no zone is named.
    """
    try:
        date = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return date.replace(tzinfo=UTC) if date is not None and date.tzinfo is None else date


def read_listing(repo: str, commit: str, entries: list[object], *, url: str) -> Listing:
    """Return the files of all pages of a tree.

    Args:
        repo: The repository's name.
        commit: Which commit the tree belongs to.
        entries: The decoded JSON of all pages together.
        url: Where it came from, for messages.

    Raises:
        InconsistentListingError: Sizes or digests do not fit each other.
        UnexpectedReplyError: An entry is malformed.
    """
    files = [_file(entry, url) for entry in entries if not (isinstance(entry, dict) and entry.get("type") != "file")]
    paths = dict.fromkeys(file.path for file in files)
    if (twice := len(files) - len(paths)) > 0:
        raise _inconsistent(f"{repo} at {commit[:12]}", f"it names {twice} of its {len(files)} files twice", url)
    # Names are judged where files are chosen (I8): a picture that no disk takes does not block a model.
    return Listing(repo, commit, tuple(sorted(files, key=lambda file: file.path)))


def siblings_as_tree(answer: object) -> list[object]:
    """Return the files that a hub describes with a commit as entries of a tree; none where one is not described.

    Args:
        answer: The decoded JSON, asked with ``blobs=true``.
    """
    siblings = answer.get("siblings") if isinstance(answer, dict) else None
    entries: list[object] = []
    for one in siblings if isinstance(siblings, list) else ():
        if not isinstance(one, dict) or "blobId" not in one:
            return []
        entry = {"type": "file", "path": one.get("rfilename"), "oid": one["blobId"], "size": one.get("size")}
        lfs = one.get("lfs")
        if isinstance(lfs, dict):
            entry["lfs"] = {"oid": lfs.get("sha256"), "size": lfs.get("size"), "pointerSize": lfs.get("pointerSize")}
        entries.append(entry)
    return entries


def confirmed(listing: Listing, siblings: tuple[str, ...] | None, *, host: str) -> Listing:
    """Return a listing that is held against what the hub says with the commit itself.

    Args:
        listing: The files of all pages.
        siblings: The paths that came with the commit; ``None`` where none did.
        host: Who was asked and by which way, for the message.

    Raises:
        InconsistentListingError: They do not name the same files: a page is missing, cut, or another commit's.
        UnsafeNameError: A file that only the listing has would leave its directory.
    """
    if not siblings:
        return replace(listing, confirmed=False)
    listed, named = {file.path for file in listing.files}, set(siblings)
    missing, more = sorted(named - listed), sorted(listed - named)
    if not missing and (not more or len(named) >= MOST_SIBLINGS):
        return listing
    check_names(more)  # a name that leads out of its folder says more than that it is one too many
    kinds = (("missing from the listing", missing), ("only in the listing", more))
    differing = "; ".join(f"{len(paths)} {what}, {paths[0]!a} for one" for what, paths in kinds if paths)
    raise InconsistentListingError(
        f"{listing.repo} at {listing.commit[:12]}: {host} lists {len(listed)} files and names {len(named)} with the "
        f"commit itself: {differing}",
        remedy="Something between cuts its answers: check the proxy or mirror, then run again. Nothing of it was kept.",
    )


def pointer_of(sha256: str, size: int) -> bytes:
    """Return the pointer that stands for a large file in git, and so binds its sha256 to the commit.

    Args:
        sha256: Of the file's content.
        size: Of the file, in bytes.
    """
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha256.encode(), size)


def git_blob_id(content: bytes) -> str:
    """Return the id that git gives to a content.

    Args:
        content: All of it.
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _file(entry: object, url: str) -> RemoteFile:
    if not isinstance(entry, dict):
        raise UnexpectedReplyError(f"{url}: an entry of the listing is not an object")
    path, size, blob, lfs = entry.get("path"), entry.get("size"), entry.get("oid"), entry.get("lfs")
    if not isinstance(path, str) or not _is_size(size) or not isinstance(blob, str) or not COMMIT.fullmatch(blob):
        raise UnexpectedReplyError(f"{url}: the entry {path!a} lacks its path, size or blob id")
    if lfs is None:
        return RemoteFile(path, size, Digest(Algorithm.GIT_BLOB, blob), large=False)
    sha256 = lfs.get("oid") if isinstance(lfs, dict) else None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise UnexpectedReplyError(f"{url}: the entry {path!a} is a large file without its sha256")
    if lfs.get("size") != size:
        raise _inconsistent(path, f"its size is {size} and {lfs.get('size')} at once", url)
    pointer = pointer_of(sha256, size)
    # A pointer that some old tool wrote with other lines has another length, and cannot be rebuilt from here.
    if lfs.get("pointerSize") in (None, len(pointer)) and git_blob_id(pointer) != blob:
        raise _inconsistent(path, "its sha256 and size do not give the blob id of its pointer", url)
    return RemoteFile(path, size, Digest(Algorithm.SHA256, sha256), large=True)


def _inconsistent(path: str, why: str, url: str) -> InconsistentListingError:
    return InconsistentListingError(
        f"{path}: inconsistent listing: {why} ({url})",
        remedy="The hub or a mirror between lies or is broken; try the original hub by unsetting HF_ENDPOINT.",
    )


def _siblings(value: object, url: str) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    names = [one.get("rfilename") if isinstance(one, dict) else None for one in value]
    paths = tuple(name for name in names if isinstance(name, str))
    if len(paths) != len(names):
        raise UnexpectedReplyError(f"{url}: a file of the commit has no name")
    return paths


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _license(card: Mapping[str, object], tags: tuple[str, ...]) -> str | None:
    found = card.get("license")
    found = found[0] if isinstance(found, list) and found else found
    if found == "other" and isinstance(card.get("license_name"), str):
        found = card["license_name"]
    if isinstance(found, str) and found:
        return found
    return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)
