"""Classes that are written later are in all things those of the library."""

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest

from imageworks.foundation.dataclasses import dataclass

THREADS = 8


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that can be pickled."""

    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Read(Kept):
    """What is never made here."""


def _declared(dataclass: Callable[..., Any]) -> dict[str, Any]:
    """Return classes of many kinds, made by the library or by ours."""

    @dataclass(frozen=True, slots=True)
    class Frozen:
        """Doc."""

        kind: ClassVar = "frozen"
        first: int
        names: list[str] = field(default_factory=list, compare=False)
        last: str = "z"

        @property
        def twice(self) -> int:
            return self.first * 2

    @dataclass(frozen=True, slots=True)
    class Heir(Frozen):
        last: str = "y"
        more: float | None = None

    @dataclass(slots=True)
    class Changing:
        first: int
        last: str = field(default="z", repr=False)

        def __post_init__(self) -> None:
            self.first += 1

    @dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        first: int

    @dataclass(frozen=True, slots=True)
    class OwnText:
        first: int

        def __repr__(self) -> str:
            return f"<{self.first}>"

    @dataclass(slots=True)
    class OwnStart:
        first: int

        def __init__(self) -> None:
            self.first = 7

    @dataclass(frozen=True)
    class Open:
        first: int

    return {each.__name__: each for each in (Frozen, Heir, Changing, Ordered, OwnText, OwnStart, Open)}


WAYS: dict[str, Callable[[dict[str, Any]], object]] = {
    "texts": lambda of: [
        repr(of["Frozen"](1, ["x"])),
        repr(of["Heir"](1)),
        repr(of["Changing"](1)),
        repr(of["OwnText"](3)),
    ],
    "fields of a class": lambda of: [(f.name, f.default, f.compare) for f in dataclasses.fields(of["Heir"])],
    "is one": lambda of: [dataclasses.is_dataclass(each) for each in of.values()],
    "parameters": lambda of: [repr(each.__dataclass_params__) for each in of.values()],
    "positions": lambda of: [each.__match_args__ for each in of.values()],
    "slots": lambda of: [getattr(each, "__slots__", None) for each in of.values()],
    "names": lambda of: [(each.__qualname__, each.__module__, each.__name__) for each in of.values()],
    "doc": lambda of: of["Frozen"].__doc__,
    "equal": lambda of: [of["Frozen"](1, ["a"]) == of["Frozen"](1, ["b"]), of["Frozen"](1) == of["Heir"](1)],
    "in a set": lambda of: len({of["Ordered"](1), of["Ordered"](1), of["Ordered"](2)}),
    "order": lambda of: [repr(each) for each in sorted(map(of["Ordered"], (3, 1, 2)))],
    "replaced": lambda of: repr(dataclasses.replace(of["Heir"](1), more=2.0)),
    "as values": lambda of: dataclasses.asdict(of["Heir"](1, ["x"])),
    "copied": lambda of: repr(copy.deepcopy(of["Frozen"](1, ["x"]))),
    "a class attribute": lambda of: [of["Frozen"].kind, of["Frozen"](4).twice],
    "own start": lambda of: repr(of["OwnStart"]()),
    "an heir first": lambda of: [repr(of["Heir"](2)), isinstance(of["Heir"](2), of["Frozen"]), repr(of["Frozen"](3))],
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_as_the_library_makes_it(way: str) -> None:
    assert WAYS[way](_declared(dataclass)) == WAYS[way](_declared(dataclasses.dataclass))


def test_wrong_values_are_refused_as_the_library_does() -> None:
    for of in (_declared(dataclass), _declared(dataclasses.dataclass)):
        with pytest.raises(TypeError, match="first"):
            of["Frozen"]()
        with pytest.raises(FrozenInstanceError):
            of["Frozen"](1).first = 2
        with pytest.raises(TypeError, match="hash"):
            hash(of["Changing"](1))


def test_a_pattern_takes_it_apart() -> None:
    match Kept("a", (1,)):
        case Kept(name, sizes):
            assert (name, sizes) == ("a", (1,))


def test_what_is_read_back_first_is_whole() -> None:
    """Another process may have pickled it: nothing of the class was made here before."""
    kept = pickle.dumps(Kept("a", (1, 2))).replace(b"\x04Kept", b"\x04Read")
    assert repr(pickle.loads(kept)) == "Read(name='a', sizes=(1, 2))"  # noqa: S301 # of our own


def test_threads_that_use_it_first_at_once_all_get_it() -> None:
    for _ in range(50):
        of = _declared(dataclass)
        start, made = threading.Barrier(THREADS), list[str]()

        def make(of: dict[str, Any] = of, start: threading.Barrier = start, made: list[str] = made) -> None:
            start.wait(30)
            made.append(repr(of["Heir"](1)))

        threads = [threading.Thread(target=make) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(made) == THREADS
        assert set(made) == {repr(of["Heir"](1))}
