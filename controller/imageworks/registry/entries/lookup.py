"""Which model a person means: by its variant name, or by whatever else only one model is called.

Every command and every function that takes a name asks here, so that all of them take what ``list`` prints.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.home import expanded_or_none
from imageworks.foundation.similar_words import near_words
from imageworks.foundation.texts import commit_command
from imageworks.naming.hub_identifiers import IdentifierError, parse_hub_identifier
from imageworks.registry.entries.queries import Model, name_for_people, part, text, texts
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES

if TYPE_CHECKING:
    from imageworks.registry.load import RegistryState

DEPRECATED_MARK: Final = " [deprecated]"
"""What ``list --show-deprecated`` writes behind a name."""

_ADDRESSES: Final = ("https://", "http://", "hf://", "hf.co/", "huggingface.co/")
_LATEST: Final = ":latest"
_SHORTEST_BEGINNING: Final = 2  # of a name; one letter is a slip more often than a choice
_MOST_LISTED: Final = 20


class UnknownModelError(ImageworksError, KeyError):
    """No model, or more than one, is called so; a ``KeyError`` too, as mappings of models raise."""

    def __init__(
        self,
        asked: str,
        *,
        near: str | None = None,
        matches: Iterable[str] = (),
    ) -> None:
        self.matches = tuple(matches)
        if self.matches:
            listed = ", ".join(self.matches[:_MOST_LISTED])
            more = f" and {len(self.matches) - _MOST_LISTED} more" if len(self.matches) > _MOST_LISTED else ""
            message, hint = f"{asked} means several models: {listed}{more}", "Give one of these names."
        else:
            message = f"no model is called {asked!r} here"
            everything = "`imageworks-models list` and `list --details` show what there is."
            hint = f"Did you mean {near!r}?" if near else everything
        super().__init__(message, remedy=hint)

    def __str__(self) -> str:
        return self.render()  # a KeyError would quote it


@dataclass(frozen=True, slots=True)
class Named:
    """A model and what it may be called.

    Args:
        name: The variant name.
        shown: The name that people see.
        others: Everything else: served name, aliases, repository, Ollama's name.
        path: Where its files are; empty for none.
        deprecated: Whether it is kept for going back only: of two that are called the same, the other one is meant.
    """

    name: str
    shown: str = ""
    others: tuple[str, ...] = ()
    path: str = ""
    deprecated: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it is called."""
        return tuple(name for name in (self.name, self.shown, *self.others) if name)


def find_name(asked: str, models: Iterable[Named], *, whole: bool = False) -> str:
    """Return the variant name of the model that somebody means.

    The exact variant name comes first, then the path of its files, then any name in any case, then the beginning of a
    name; each counts where it fits one model only.
    """
    everything = []
    for model in models:
        if model.name == asked:
            return asked
        everything.append(model)
    plain = _plain(asked)
    marked = [model for model in everything if model.deprecated] if asked.rstrip().endswith(DEPRECATED_MARK) else []
    ways: list[Callable[[Named], bool]] = [lambda model: _is_at(model, asked), lambda model: _is_called(model, plain)]
    if not whole and len(plain) >= _SHORTEST_BEGINNING:
        ways.append(lambda model: _begins(model, plain))
    for fits in ways:
        found = [model for model in marked or everything if fits(model)]
        current = [model for model in found if not model.deprecated] or found
        if len(current) == 1:
            return current[0].name
        if current:
            raise UnknownModelError(asked, matches=sorted(model.name for model in current))
    raise UnknownModelError(asked, near=_nearest(plain, everything))


def find_in(registry: "RegistryState", asked: str, *, whole: bool = False) -> str:
    """Return the variant name of the declared or recorded model that somebody means; see `find_name`."""
    if asked in registry.manifests or asked in registry.entries or asked in registry.blocked:
        return asked
    try:
        return find_name(asked, named_in(registry), whole=whole)
    except UnknownModelError as error:
        if registry.root and not error.matches and (file := uncommitted_manifest(registry.root, asked)):
            error.message = f"{file} is not committed yet, so nothing knows of it"
            error.remedy = (
                f"`imageworks-models plan --uncommitted {asked}` shows what it would do, "
                f"`{commit_command(registry.root, file)}` lets it count."
            )
        raise


def known_names(registry: "RegistryState", asked: Collection[str]) -> tuple[str, ...]:
    """Return the variant names of the models that somebody means."""
    return tuple(dict.fromkeys(find_in(registry, name) for name in asked))


def uncommitted_manifest(root: Path, asked: str) -> str | None:
    """Return the manifest of the work tree that somebody means who does not know that only committed ones count."""
    with suppress(OSError):
        there = {path.name for path in (root / MODELS).iterdir()}  # what is asked for may be no name of a file
        return next((f"{MODELS}/{asked}{suffix}" for suffix in SUFFIXES if asked + suffix in there), None)
    return None


def find_model(models: Sequence[Model], asked: str) -> Model:
    """Return the model of a snapshot that somebody means; see `find_name`."""
    name = find_name(asked, map(named, models))
    return next(model for model in models if text(model, "name") == name)


def named(model: Model) -> Named:
    """Return a merged model with what it may be called."""
    return Named(
        name=text(model, "name"),
        shown=name_for_people(model),
        others=tuple(dict.fromkeys(_others(model))),
        path=text(model, "download_path"),
        deprecated=model.get("deprecated") is True,
    )


def named_in(registry: "RegistryState") -> Iterator[Named]:
    """Yield the declared and recorded models with what they may be called."""
    from imageworks.registry.entries.merge import load_owners, merge_one  # only where a name is not a variant's

    owners = load_owners()
    for name in sorted({*registry.manifests, *registry.entries}):
        manifest, entry = registry.manifests.get(name), registry.entries.get(name)
        # What is declared is not in a merged model, and a model may be asked for before anything is recorded of it.
        source = {"source": manifest.fields.get("source")} if manifest is not None else {}
        yield named({**merge_one(manifest, entry, owners), **source, "name": name})
    yield from (Named(name) for name in registry.blocked if name not in {*registry.manifests, *registry.entries})


def _others(model: Model) -> Iterator[str]:
    for name in (text(model, "served_model_id"), *texts(model, "model_aliases"), text(part(model, "source"), "ollama")):
        yield name
        yield name.removesuffix(_LATEST)
    resolved, source = part(model, "resolved"), part(model, "source")
    refs = (text(resolved, "ref"), text(source, "revision"))
    for repo in (text(resolved, "repo"), text(source, "huggingface")):
        tail = repo.rpartition("/")[2]
        yield from (repo, tail)
        if repo:
            yield from (f"{name}@{ref}" for name in (repo, tail) for ref in refs if ref)
            yield f"{repo}:{text(model, 'quantization')}"


def _plain(asked: str) -> str:
    """Return a name as it is compared: an address by its repository, white space and case evened out."""
    plain = " ".join(asked.split()).removesuffix(DEPRECATED_MARK)
    if plain.lower().startswith(_ADDRESSES):
        with suppress(IdentifierError):
            plain = str(parse_hub_identifier(plain))
    return _even(plain)


def _even(name: str) -> str:
    """Return a name without what nobody sees: more white space than one, case, and how accents are composed."""
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()


def _is_at(model: Named, asked: str) -> bool:
    return asked.startswith(("/", "~")) and model.path.startswith("/") and Path(model.path) == expanded_or_none(asked)


def _is_called(model: Named, plain: str) -> bool:
    return any(_even(name) == plain for name in model.names)


def _begins(model: Named, plain: str) -> bool:
    return any(_even(name).startswith(plain) for name in model.names)


def _nearest(plain: str, models: Sequence[Named]) -> str | None:
    """Return the variant name that was most probably meant, by whatever name comes nearest."""
    spelled: Mapping[str, str] = {_even(name): model.name for model in models for name in reversed(model.names)}
    near = [spelled[name] for name in near_words(plain, spelled)]
    begun = sorted(model.name for model in models if plain and _begins(model, plain))
    return next(iter((*near, *begun)), None)
