"""Laws of validation: any files give bounded diagnostics, in an order that does not depend on theirs."""

import re
from collections.abc import Mapping
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.schema import SCHEMA_NAMES, check, load_schema
from imageworks.registry.validate import Validation, validate_registry

SCALARS = st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats(-2, 2) | st.text(max_size=20)
WORDS = st.sampled_from(
    ["vllm", "vlm", "linux_wsl", "a/b", "main", "present", "~/x", "x=y", "https://huggingface.co/a/b/c", "a/b@c", "yes"]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def documents(name: str) -> st.SearchStrategy[dict[str, object]]:
    """Return documents whose keys are mostly those of a schema, with values that mostly are not."""
    properties = load_schema(name)["properties"]
    assert isinstance(properties, dict)
    source = st.dictionaries(
        st.sampled_from(["huggingface", "ollama", "path", "revision", "include"]), VALUES, max_size=3
    )
    keys = st.sampled_from(sorted(properties)) | st.text(max_size=8)
    return st.dictionaries(keys, VALUES | source, max_size=8)


_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""What a document says, as a message repeats it."""


@given(
    st.sampled_from(["manifest", "registry", "entry", "plan"]).flatmap(lambda n: st.tuples(st.just(n), documents(n)))
)
@example(("manifest", {"^[": 1, "$id": "^[", "\x1b[2J": "\x1b[2J"}))
def test_any_document_gives_bounded_problems(case: tuple[str, dict[str, object]]) -> None:
    name, value = case
    for problem in check(name, value):  # type: ignore[arg-type] # a dict is invariant, and this one is only read
        assert 0 < len(problem.message) < 200
        assert len(problem.suggestion or "") < 500
        assert not any(character < " " for character in problem.message)
        own = _QUOTED.sub("", problem.message)
        assert not any(part in own for part in ("Failed validating", "^[", "$id"))


@given(VALUES)
def test_any_value_against_any_schema(value: object) -> None:
    for name in SCHEMA_NAMES:
        for problem in check(name, value):  # type: ignore[arg-type] # as above
            assert problem.message


NAMES = st.sampled_from(["a.yaml", "A.yaml", "b.yml", "c.yaml", "d d.yaml", "sub/e.yaml", "x.txt"])
TEXTS = st.sampled_from(
    [
        "roles: [x]",
        "source: {huggingface: a/b}",
        "source: {huggingface: a/b}\nquantization: q4",
        "previously: [a]",
        "previously: [b, c]",
        "hosts: [h]",
        "location: nowhere",
        "backend: vlm",
        "a:\t1",
        "state: absent\nsource: {path: /x}",
    ]
)


class Shuffled:
    """A registry in memory that lists its files in a given order."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def file(self, path: str) -> bytes | Refusal | None:
        return b"schema_version: 1\nhosts: {h: {}}\n" if path == "registry.yaml" else None

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        return {path: data for path, data in self._files.items() if path.startswith(f"{folder}/")}


def run(files: Mapping[str, str]) -> Validation:
    return validate_registry(Shuffled({f"models/{n}": f"schema_version: 1\n{t}\n".encode() for n, t in files.items()}))


@given(st.dictionaries(NAMES, TEXTS, max_size=6), st.randoms())
def test_order_does_not_matter_and_every_manifest_is_valid_or_blocked(files: dict[str, str], random: Random) -> None:
    first = run(files)
    names = list(files)
    random.shuffle(names)
    second = run({name: files[name] for name in names})
    assert first.diagnostics == second.diagnostics
    assert list(first.manifests) == list(second.manifests)
    assert list(first.diagnostics) == sorted(first.diagnostics)
    direct = {name.rpartition(".")[0] for name in files if "/" not in name and not name.endswith(".txt")}
    assert set(first.manifests) | set(first.blocked) == direct
    assert not {item.manifest.file for item in first.manifests.values()} & {d.file for d in first.diagnostics}
