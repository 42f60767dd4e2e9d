"""What two commits have differently, with git itself as the judge."""

import subprocess
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.git.libgit2 import open_repository
from imageworks.git.repository import RegistryRepository
from imageworks.git.trees.compare import same_end, same_start
from imageworks.git.values import DamagedRepositoryError
from support.git import USER, git, make_registry

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
NOTHING = ("000000", "0" * 40)
NAMES = 400  # whose folder is long enough that not every item of it is looked at
KINDS = ("change", "remove", "add", "executable", "link", "submodule", "folder", "unfold", "rename", "empty")
Side = tuple[str, str]
State = dict[str, Side]


def name(number: int) -> str:
    """Return a file's path; two of three names look like an item of a folder's bytes itself."""
    return f"models/{number:03d}-{'100644 ' if number % 3 else ''}{'long-name-' * 4}.yaml"


def edited(state: State, kind: str, number: int, blobs: list[str]) -> State:
    """Return a state with one thing changed at a name."""
    at = name(number)
    here = {path: side for path, side in state.items() if path == at or path.startswith(f"{at}/")}
    others = {path: side for path, side in state.items() if path not in here}
    blob = blobs[number % len(blobs)]
    match kind:
        case "remove":
            return others
        case "add":
            return {**state, f"models/{number:03d}.json": ("100644", blob)}
        case "folder":
            return {**others, f"{at}/x": ("100644", blob), f"{at}/y/z": ("100644", blob)}
        case "rename":
            return {f"{path.split('/')[0]}-0/{path.partition('/')[2]}": side for path, side in state.items()}
        case "empty":
            return {}
    mode = {"executable": "100755", "link": "120000", "submodule": "160000"}.get(kind, "100644")
    return {**others, at: (mode, blob)}


def commit_all(folder: Path, states: list[State]) -> list[str]:
    """Commit some states one after the other and return the commits' ids."""
    stream: list[str] = []
    for place, state in enumerate(states):
        files = [f"M {mode} {identifier} {path}" for path, (mode, identifier) in state.items()]
        stream += ["commit refs/heads/made", f"mark :{place + 1}", f"committer A <a@b.c> {place} +0000", "data 0"]
        stream += ["deleteall", *files, ""]
    words = ["git", *USER, "fast-import", "--quiet", "--export-marks=marks"]
    subprocess.run(words, cwd=folder, input="\n".join(stream).encode(), check=True, capture_output=True)
    marks = dict(line.split() for line in (folder / "marks").read_text(encoding="ascii").splitlines())
    return [marks[f":{place + 1}"] for place in range(len(states))]


def told_by_git(folder: Path, before: str | None, after: str | None) -> dict[str, tuple[Side, Side]]:
    words = git(folder, "diff-tree", "-r", "-z", "--no-renames", "--raw", before or EMPTY_TREE, after or EMPTY_TREE)
    heads, paths = words.split("\0")[0:-1:2], words.split("\0")[1::2]
    cut = [head.removeprefix(":").split() for head in heads]
    return {path: ((one[0], one[2]), (one[1], one[3])) for path, one in zip(paths, cut, strict=True)}


def told_by_us(registry: RegistryRepository, before: str | None, after: str | None) -> Mapping[str, tuple[Side, Side]]:
    found: dict[str, tuple[Side, Side]] = {}
    differences = registry.differences(before, after)
    assert [one.path for one in differences] == sorted(one.path for one in differences)
    for one in differences:
        old, new = (NOTHING if side is None else (f"{side.mode:06o}", side.id) for side in (one.before, one.after))
        if one.path in found:  # another kind of thing: told as removed and then as added
            assert found[one.path][1] == old == NOTHING
            old = found[one.path][0]
        found[one.path] = (old, new)
    return found


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, NAMES)), min_size=1, max_size=4), max_size=6
    ),
    jumps=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=4),
)
def test_two_commits_differ_as_git_says(steps: list[list[tuple[str, int]]], jumps: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        registry = make_registry(folder)
        repository = open_repository(folder)
        blobs = [str(repository.create_blob(b"%d" % number)) for number in range(7)]
        states: list[State] = [{name(number): ("100644", blobs[number % 5]) for number in range(NAMES)}]
        for edits in steps:
            states.append(states[-1])
            for kind, number in edits:
                states[-1] = edited(states[-1], kind, number, blobs[5:])
        commits: list[str | None] = [*commit_all(folder, states)]
        asked = [(None, commits[0]), *pairwise(commits), (commits[-1], None)][::-1]
        asked += [(commits[one % len(commits)], commits[other % len(commits)]) for one, other in jumps]
        for before, after in asked:
            assert told_by_us(registry, before, after) == told_by_git(folder, before, after)


@pytest.mark.parametrize(("kind", "said"), [("tree", "damaged"), ("blob", "no folder")])
def test_a_damaged_folder_is_told(tmp_path: Path, kind: str, said: str) -> None:
    registry = make_registry(tmp_path)
    file = tmp_path / "damaged"

    def stored(kind: str, data: bytes) -> str:
        file.write_bytes(data)
        return git(tmp_path, "hash-object", "-t", kind, "--literally", "-w", str(file)).strip()

    below = stored(kind, b"100644 a\0cut off")
    root = stored("tree", b"40000 models\0" + bytes.fromhex(below))
    commit = git(tmp_path, "commit-tree", "-m", "x", root).strip()
    with pytest.raises(DamagedRepositoryError, match=said):
        registry.differences(registry.head(), commit)


@given(start=st.binary(max_size=40), ends=st.tuples(st.binary(max_size=4), st.binary(max_size=4)))
def test_what_is_the_same_of_two_texts(start: bytes, ends: tuple[bytes, bytes]) -> None:
    one, other = start + ends[0], start + ends[1]
    same = same_start(one, other)
    assert one[:same] == other[:same]
    assert one[same : same + 1] != other[same : same + 1] or same == len(one) == len(other)
    assert same_end(one[::-1], other[::-1]) == same
