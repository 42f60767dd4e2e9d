"""A repository at one commit as values, of what huggingface_hub read, with every claim checked that can be offline."""

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeGuard

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.files.safe_names import check_names
from imageworks.providers.huggingface.errors import (
    InconsistentListingError,
    RepositoryNotFoundError,
    UnexpectedReplyError,
)
from imageworks.providers.repository import HubCommit, Listing, ResolvedRevision

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.hf_api import RepoSibling

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
MOST_SIBLINGS: Final = 50_000
"""From so many files on, a hub may leave some out of what it says with the commit."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def checked_repository(repo: str) -> str:
    """Return a repository's name when it can be one; it becomes part of URLs and paths."""
    if not _REPOSITORY.fullmatch(repo) or ".." in repo or repo.endswith((".git", ".")):
        raise RepositoryNotFoundError(
            f"{repo!r} cannot be the name of a repository", remedy="Write it as owner/name, as the hub's page shows it."
        )
    return repo


def read_revision(said: "ModelInfo", *, ref: str, url: str) -> ResolvedRevision:
    """Return what a hub's model information says; the library has not looked at the types of its values."""
    repo, commit = _text(said.id), _text(said.sha)
    if repo is None or commit is None or not COMMIT.fullmatch(commit):
        raise UnexpectedReplyError(f"{url}: the answer has no repository id or no commit")
    if COMMIT.fullmatch(ref) and commit != ref:
        raise InconsistentListingError(f"{url}: commit {ref} was asked for, and the hub answered with {commit}")
    fields: dict[str, object] = getattr(said.card_data, "__dict__", {})
    card = {name: value for name, value in fields.items() if value is not None and name != "eval_results"}
    listed: object = said.tags
    tags = tuple(sys.intern(tag) for tag in listed if isinstance(tag, str)) if isinstance(listed, list) else ()
    siblings = None if said.siblings is None else tuple(one.rfilename for one in said.siblings)
    if not all(isinstance(name, str) for name in siblings or ()):
        raise UnexpectedReplyError(f"{url}: a file of the commit has no name")
    modified = said.last_modified
    return ResolvedRevision(
        repo=checked_repository(repo),
        commit=commit,
        ref=ref,
        private=said.private is True,
        gated=said.gated not in (None, False),
        disabled=said.disabled is True,
        license=_license(card, tags),
        tags=tags,
        pipeline_tag=_text(said.pipeline_tag),
        library_name=_text(said.library_name),
        last_modified=None if modified is None else modified.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        card=card,
        siblings=siblings,
    )


def read_commit(entry: object, *, url: str) -> HubCommit:
    """Return one commit of a history."""
    commit = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise UnexpectedReplyError(f"{url}: an entry of the history has no commit")
    return HubCommit(commit, _text(entry.get("title")) or "", read_date(entry.get("date")))


def read_date(value: object) -> datetime | None:
    """Return a date as hubs write it, with its zone; ``None`` for anything else."""
    try:
        date = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return date.replace(tzinfo=UTC) if date is not None and date.tzinfo is None else date


def described(one: "RepoSibling") -> dict[str, object]:
    """Return a file that a model's information describes as a tree says it."""
    lfs = one.lfs and {"oid": one.lfs.sha256, "size": one.lfs.size, "pointerSize": one.lfs.pointer_size}
    return {"path": one.rfilename, "size": one.size, "oid": one.blob_id, "lfs": lfs}


def read_listing(repo: str, commit: str, found: Iterable[Mapping[str, object]], *, url: str) -> Listing:
    """Return the files of a commit, of what its tree says."""
    files = [_file(one, url) for one in found]
    paths = dict.fromkeys(file.path for file in files)
    if (twice := len(files) - len(paths)) > 0:
        raise _inconsistent(f"{repo} at {commit[:12]}", f"it names {twice} of its {len(files)} files twice", url)
    # Names are judged where files are chosen (I8): a picture that no disk takes does not block a model.
    return Listing(repo, commit, tuple(sorted(files, key=lambda file: file.path)))


def confirmed(listing: Listing, siblings: tuple[str, ...] | None, *, host: str) -> Listing:
    """Return a listing that is held against what the hub says with the commit itself."""
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
    """Return the pointer that stands for a large file in git, and so binds its sha256 to the commit."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha256.encode(), size)


def git_blob_id(content: bytes) -> str:
    """Return the id that git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _file(said: Mapping[str, object], url: str) -> RemoteFile:
    path, size, blob, lfs = said.get("path"), said.get("size"), said.get("oid"), said.get("lfs")
    if not isinstance(path, str) or not _is_size(size) or not isinstance(blob, str) or not COMMIT.fullmatch(blob):
        raise UnexpectedReplyError(f"{url}: the entry {path!a} lacks its path, size or blob id")
    if lfs is None:
        return RemoteFile(sys.intern(path), size, Digest(Algorithm.GIT_BLOB, blob), large=False)
    large = lfs if isinstance(lfs, dict) else {}
    sha256 = large.get("oid")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or not large.keys() >= {"size", "pointerSize"}:
        raise UnexpectedReplyError(f"{url}: the entry {path!a} is a large file without its sha256 or sizes")
    if large["size"] != size:
        raise _inconsistent(path, f"its size is {size} and {large['size']} at once", url)
    pointer = pointer_of(sha256, size)
    # A pointer that some old tool wrote with other lines has another length, and cannot be rebuilt from here.
    if large["pointerSize"] == len(pointer) and git_blob_id(pointer) != blob:
        raise _inconsistent(path, "its sha256 and size do not give the blob id of its pointer", url)
    return RemoteFile(sys.intern(path), size, Digest(Algorithm.SHA256, sha256), large=True)


def _inconsistent(path: str, why: str, url: str) -> InconsistentListingError:
    return InconsistentListingError(
        f"{path}: inconsistent listing: {why} ({url})",
        remedy="The hub or a mirror between lies or is broken; try the original hub by unsetting HF_ENDPOINT.",
    )


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _license(card: Mapping[str, object], tags: tuple[str, ...]) -> str | None:
    found = card.get("license")
    if isinstance(found, list):
        found = ", ".join(one for one in found if isinstance(one, str) and one)
    if found == "other" and isinstance(card.get("license_name"), str):
        found = card["license_name"]
    if isinstance(found, str) and found:
        return found
    return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)
