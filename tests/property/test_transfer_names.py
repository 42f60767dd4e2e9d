"""No name that is let onto the disk leaves its directory, by the rules of POSIX or of Windows (I8)."""

import posixpath
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from imageworks.files.safe_names import UnsafeNameError, check_names, check_relative_name

PIECES = st.sampled_from(
    ["..", ".", "", "/", "\\", "C:", "con", "nul.txt", ".git", "a", "B", " ", "\0", "\u202e", "~", "e\u0301", "\u00e9"]
)
NAMES = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES).map("/".join))


def accepted(name: str) -> bool:
    try:
        check_relative_name(name)
    except UnsafeNameError:
        return False
    return True


@given(NAMES)
@example("a/../../b")
@example("C:x")
@example("\\\\?\\C:\\x")
def test_an_accepted_name_stays_inside_on_posix_and_windows(name: str) -> None:
    if not accepted(name):
        return
    posix = posixpath.normpath(posixpath.join("/srv/model", name))
    assert posix.startswith("/srv/model/")
    assert PurePosixPath("/srv/model", name).is_relative_to("/srv/model")
    windows = PureWindowsPath("D:/srv/model") / name
    assert windows.drive == "D:"
    assert windows.is_relative_to("D:/srv/model")
    assert ".." not in windows.parts
    assert windows.relative_to("D:/srv/model").as_posix() == name
    assert not windows.is_reserved()
    assert all(unicodedata.category(character) not in {"Cc", "Cf", "Cs"} for character in name)


@given(st.lists(NAMES, max_size=6))
def test_an_accepted_listing_has_no_two_names_for_one_file(names: list[str]) -> None:
    try:
        check_names(names)
    except UnsafeNameError:
        return
    exact = [unicodedata.normalize("NFC", name).casefold() for name in names]
    assert len(set(exact)) == len(names)
    assert not {name for name in exact for other in exact if other.startswith(f"{name}/")}
