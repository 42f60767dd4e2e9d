"""The library's dataclasses, with methods that are written when a class is first used.

The library compiles six functions for a frozen class, a third of a millisecond. A download loads 180 such classes and a
dry run with nothing to do 120, and each leaves more than half of them unused.
"""

import dataclasses
from functools import partial
from threading import RLock
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass

__all__ = ["dataclass"]

_WRITTEN: Final = (
    *("__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__setattr__", "__delattr__"),
    *("__getstate__", "__setstate__", "__replace__", "__match_args__", "__dataclass_params__"),
    *("__dataclass_fields__", "__init__"),  # last: who finds that one waits for nobody any more
)
_LOOKED_FOR: Final = ("__match_args__", "__dataclass_params__", "__dataclass_fields__")
_WRITING: Final = RLock()

if not TYPE_CHECKING:

    def dataclass(cls: type | None = None, /, *, slots: bool = False, **options: bool) -> Any:  # noqa: ANN401 # or itself
        """Return a class as ``dataclasses.dataclass`` does; one with slots is written later."""
        if cls is None:
            return partial(dataclass, slots=slots, **options)
        if slots and "__init__" not in vars(cls):
            return _written_later(cls, options)
        return dataclasses.dataclass(cls, slots=slots, **options)


def _written_later(cls: type, options: dict[str, bool]) -> type:
    later: Any = _with_slots(cls)

    def write() -> None:
        with _WRITING:
            if vars(later)["__init__"] is not first_made:
                return
            written = vars(dataclasses.dataclass(slots=True, **options)(cls))
            for name in _WRITTEN:
                if name in written:
                    setattr(later, name, written[name])
                elif name in vars(later):
                    delattr(later, name)

    def first_made(self: object, *values: object, **named: object) -> None:
        write()
        later.__init__(self, *values, **named)

    def first_restored(self: object, state: object) -> None:
        write()
        later.__setstate__(self, state)

    later.__init__ = first_made
    later.__setstate__ = first_restored
    for name in _LOOKED_FOR:
        setattr(later, name, _Unwritten(name, write))
    made: type = later
    return made


class _Unwritten:
    """An attribute of a class that is there once somebody looks for it."""

    def __init__(self, name: str, write: "Callable[[], None]") -> None:
        self._name = name
        self._write = write

    def __get__(self, _instance: object, owner: type) -> Any:  # noqa: ANN401 # whatever it is
        self._write()
        return getattr(owner, self._name)


def _with_slots(cls: type) -> type:
    """Return a class made anew with a slot for each field, as the library does it: to one that exists none is added."""
    body = dict(vars(cls))
    names = [name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind).partition("[")[0]]
    for name in (*names, "__dict__", "__weakref__"):
        body.pop(name, None)
    bases = map(vars, cls.__mro__[1:-1])
    inherited = {name for base in bases for name in names if isinstance(base.get(name), MemberDescriptorType)}
    body["__slots__"] = tuple(name for name in names if name not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made
