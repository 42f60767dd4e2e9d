"""Whose a file is: one that somebody else can write to may become another one after it was verified."""

import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Final

_ACL: Final = "system.posix_acl_access"
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def why_shared(path: str | Path | int, found: os.stat_result, trusted: Collection[int] = ()) -> str | None:
    """Return why somebody else could change a file's bytes; ``None`` where only this user and trusted ones can.

    Who may replace it in its folder does not matter: that is another file then. Root can do anything, and is not told.
    """
    if found.st_uid not in {os.geteuid(), 0, *trusted}:
        return f"it belongs to {_user(found.st_uid)}"
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write to it"
    if found.st_mode & stat.S_IWGRP and not (_is_private_group(found.st_uid, found.st_gid) and not _has_acl(path)):
        return f"others than {_user(found.st_uid)} may write to it (group {_group(found.st_gid)}, or an access list)"
    return None


def why_not_ours(path: Path) -> str | None:
    """Return why a file or folder may not be what this user made there; ``None`` where nobody else had a hand in it."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "it is a link"
    if found.st_uid == os.geteuid() and not found.st_mode & _OTHERS_WRITE:
        return None
    made = _made_beside(path)
    if made is None or found.st_uid != made.st_uid:
        return f"it belongs to {_user(found.st_uid)}"
    return "others may write to it" if found.st_mode & ~made.st_mode & _OTHERS_WRITE else None


def _made_beside(path: Path) -> os.stat_result | None:
    """Return what a folder that is closed to others looks like there: some disks give all files one owner and mode."""
    try:
        with tempfile.TemporaryDirectory(prefix=".owner-", dir=path.parent) as folder:
            return os.lstat(folder)
    except OSError:
        return None


def user_ids(names: Iterable[str]) -> frozenset[int]:
    """Return the numbers of users by their names, or as they were written; who is not known here is left out."""
    found = set()
    for name in names:
        if name.isdecimal():
            found.add(int(name))
        elif (number := _user_number(name)) is not None:
            found.add(number)
    return frozenset(found)


def _user_number(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


@cache
def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


@cache
def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


@cache
def _is_private_group(user: int, group: int) -> bool:
    """Return whether a group is a user's own, as systems with the usual umask 002 give each user one."""
    if user == 0:
        return False
    try:
        owner, own = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return owner.pw_gid == group and own.gr_name == owner.pw_name and set(own.gr_mem) <= {owner.pw_name}


def _has_acl(path: str | Path | int) -> bool:
    """Return whether an access list says more of who may write; its mask is what stands for the group then."""
    if not hasattr(os, "getxattr"):
        return False
    try:
        os.getxattr(path, _ACL)
    except OSError:
        return False
    return True
