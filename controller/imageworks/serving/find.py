"""Which recorded model a person means: by variant name, path, served name, alias, display name or repository. Pure."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from imageworks.errors import ImageworksError
from imageworks.registry.views import Model, name_for_people, part, text, texts


class UnknownModelError(ImageworksError):
    """No recorded model, or more than one, is called so."""


def find_model(models: Sequence[Model], asked: str) -> Model:
    """Return the model that a name means: the exact variant name first, then any other name that only one model has.

    Args:
        models: A host's snapshot.
        asked: What the person wrote.

    Raises:
        UnknownModelError: None or several fit.
    """
    for fits in (_is_variant, _is_at, _is_called):
        found = [model for model in models if fits(model, asked)]
        current = [model for model in found if model.get("deprecated") is not True] or found
        if len(current) == 1:
            return current[0]
        if current:
            names = ", ".join(sorted(text(model, "name") for model in current))
            raise UnknownModelError(f"{asked} means several models: {names}", remedy="Give one of these names.")
    near = get_close_matches(asked.lower(), [text(model, "name") for model in models], n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "`imageworks-models list --details` shows what there is."
    raise UnknownModelError(f"no recorded model is called {asked!r}", remedy=hint)


def names_of(model: Model) -> tuple[str, ...]:
    """Return what a model may be called besides its variant name: served name, aliases, display name, repository."""
    repo = part(model, "resolved").get("repo")
    names: Iterable[str] = (
        text(model, "served_model_id"),
        *texts(model, "model_aliases"),
        name_for_people(model),
        repo if isinstance(repo, str) else "",
        repo.rpartition("/")[2] if isinstance(repo, str) else "",
    )
    return tuple(dict.fromkeys(name for name in names if name))


def _is_variant(model: Model, asked: str) -> bool:
    return text(model, "name") == asked


def _is_at(model: Model, asked: str) -> bool:
    path = text(model, "download_path")
    return asked.startswith(("/", "~")) and path.startswith("/") and Path(path) == Path(asked).expanduser()


def _is_called(model: Model, asked: str) -> bool:
    return asked.lower() in {name.lower() for name in (text(model, "name"), *names_of(model))}
