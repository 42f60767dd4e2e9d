"""The commands that look back: ``history``, ``diff``, ``blame`` and ``show``, from the registry's commits."""

import itertools
import json
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain, printable, say
from imageworks.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imageworks.registry.git import RegistryRepository
    from imageworks.registry.history_read import HistoryReader
    from imageworks.registry.history_states import Wanted
    from imageworks.registry.history_values import ModelChange

Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print stable JSON.")]
Host = Annotated[str | None, typer.Option("--host", metavar="NAME", help="Whose entries count.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("history")(history_command)
    app.command("diff")(diff_command)
    app.command("show")(show_command)
    app.command("blame")(blame_command)


def history_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The model whose history is asked for; all if none.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most commits to show.")] = 20,
    revision: Annotated[
        str | None, typer.Option("--from", metavar="REV|DATE", help="Where to start; the checked-out commit if none.")
    ] = None,
    host: Host = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show each commit that touched a model, or the registry: when, who, and what became of the models, newest first.

    A model's earlier names are followed: what its manifest calls `previously`, and entries that were moved.
    """
    from imageworks.registry.history_values import FORMAT_VERSION

    with _looking(registry, host=host, cached=name is None) as reader:
        _warn_of_lack(reader)
        start = None if revision is None else reader.repository.resolve(revision)
        name = None if name is None else _called(reader, name, host or _this_host(registry))
        if name is None:
            found = reader.registry_steps(host=host, revision=start)
        else:
            found = reader.steps(name, host=host, revision=start)
        steps = list(itertools.islice(found, limit))
        reader.save()
        if as_json:
            commits = [step.document() for step in steps]
            say(json.dumps({"format_version": FORMAT_VERSION, "name": name, "commits": commits}, indent=2))
        elif steps:
            from imageworks.cli.history_view import steps_text

            say(steps_text(steps, name))
        else:
            complain("No commit yet." if name is None else printable(f"No commit has changed {name}."))


def diff_command(
    revisions: Annotated[
        str | None,
        typer.Argument(metavar="[REV[..REV]]", help="One revision or date, compared with the files here; or two."),
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="Only this model; may be repeated.")
    ] = None,
    manifests: Annotated[bool, typer.Option("--manifests", help="Only what people declare.")] = False,
    entries: Annotated[bool, typer.Option("--entries", help="Only what hosts recorded.")] = False,
    host: Host = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 0 for no difference, 2 for differences.")
    ] = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> int:
    """Compare two states of the registry in model words.

    As with git: without a revision, the checked-out commit with the files here, uncommitted ones included; with one
    revision, that with the files here; `A..B` two commits, where an empty side is the checked-out commit; `A...B` what
    B changed since it left A.
    """
    with _looking(registry, cached=True) as reader:
        names = [_called(reader, name, host or _this_host(registry)) for name in names or ()]
        before, after, changes = _differences(
            reader, revisions, _wanted(names, host, manifests=manifests, entries=entries)
        )
        reader.save()
        if as_json:
            from imageworks.registry.history_values import FORMAT_VERSION

            listed = [change.document() for change in changes]
            document = {"format_version": FORMAT_VERSION, "before": before, "after": after, "changes": listed}
            say(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            from imageworks.cli.history_view import diff_text

            say(diff_text(changes))
        return ExitCode.CHANGES if detailed and changes else ExitCode.SUCCESS


def show_command(
    model: Annotated[str, typer.Argument(metavar="NAME[@REV]", help="The model, at a revision or date if given.")],
    host: Host = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show a model as it stands, or stood at a revision: what people declare and what this host recorded, merged.

    A model that was called otherwise then is found by its present name.
    """
    from imageworks.registry.history_show import model_at

    whose = host or _this_host(registry)
    with _looking(registry, host=host) as reader:
        repository = reader.repository
        name, at, revision = _model_at(reader, model, whose)
        commit = repository.resolve(revision) if at else repository.head()
        found = model_at(repository, name, commit, whose, recorded=None if at else reader.recorded)
        if as_json:
            say(json.dumps(found.document(), indent=2, ensure_ascii=False, sort_keys=True))
            return
        from imageworks.cli.model_view import model_text

        for note in found.notes:
            complain(f"note: {note}")
        say(model_text(found.model))


def blame_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    host: Host = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show which commit set each field of a model's manifest and entry to what it is, and who made it.

    Fields that a model brought along through a rename are followed to where they were set.
    """
    from imageworks.registry.history_values import FORMAT_VERSION

    with _looking(registry, host=host) as reader:
        _warn_of_lack(reader)
        whose = host or _this_host(registry)
        name = _called(reader, name, whose)
        found = reader.blame(name, whose)
        if as_json:
            fields = [one.document() for one in found]
            document = {"format_version": FORMAT_VERSION, "name": name, "fields": fields}
            say(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            from imageworks.cli.history_view import blame_text

            if not found:
                complain(f"note: nothing that can be read is said of {name}; `imageworks-models validate` says why")
            say(blame_text(found, name))


def _called(reader: "HistoryReader", asked: str, host: str) -> str:
    """Return the variant name of the model that somebody means: one that is there, else one that once was."""
    from imageworks.registry.lookup import UnknownModelError

    if next(reader.steps(asked, host=host), None) is not None:
        return asked
    try:
        return _present(reader, asked, host)
    except UnknownModelError as error:
        if error.matches:
            raise
        return asked


def _present(reader: "HistoryReader", asked: str, host: str) -> str:
    from imageworks.config import load_host_settings
    from imageworks.registry.load import load_registry
    from imageworks.registry.lookup import find_in
    from imageworks.registry.parsed import ParsedDocuments, cache_file

    repository = reader.repository
    cache = ParsedDocuments(cache_file(load_host_settings(registry=repository.root).cache_dir, repository.root))
    return find_in(load_registry(repository, host, revision=repository.head(), cache=cache), asked)


def _model_at(reader: "HistoryReader", text: str, host: str) -> tuple[str, str, str]:
    """Return name, ``@`` and revision; a name such as ``DialoGPT-medium@dev`` may have an ``@`` of its own."""
    from imageworks.registry.lookup import UnknownModelError

    parts = text.split("@")
    for count in range(len(parts), 1, -1):
        with suppress(UnknownModelError):
            return _present(reader, "@".join(parts[:count]), host), "@"[: len(parts) - count], "@".join(parts[count:])
    name, at, revision = text.partition("@")
    return _called(reader, name, host), at, revision


def _open(registry: Path | None) -> "RegistryRepository":
    from imageworks.config import find_registry
    from imageworks.registry.git import RegistryRepository

    return RegistryRepository.open(find_registry(registry))


@contextmanager
def _looking(registry: Path | None, *, host: str | None = None, cached: bool = False) -> "Iterator[HistoryReader]":
    """Yield the registry's history; with what was parsed before where many manifests are to be read."""
    from imageworks.config import load_host_settings
    from imageworks.registry.git_library import damage_told
    from imageworks.registry.history_read import HistoryReader
    from imageworks.registry.parsed import ParsedDocuments, cache_file

    repository = _open(registry)
    settings = load_host_settings(registry=repository.root)
    folder = settings.cache_dir
    places = (folder / "history", folder) if cached else ()
    caches = [ParsedDocuments(cache_file(place, repository.root)) for place in places]
    with damage_told():
        yield HistoryReader(repository, caches, host=host or settings.host)


def _warn_of_lack(reader: "HistoryReader") -> None:
    """Say that the oldest commit here is not where things began, where that is so."""
    if reader.repository.is_shallow:
        from imageworks.registry.git_revisions import WHOLE

        complain(f"note: {WHOLE[0].lower()}{WHOLE[1:]}")


def _this_host(registry: Path | None) -> str:
    from imageworks.config import find_registry, load_host_settings

    return load_host_settings(registry=find_registry(registry)).host


def _wanted(names: list[str] | None, host: str | None, *, manifests: bool, entries: bool) -> "Wanted":
    from imageworks.registry.history_states import Wanted
    from imageworks.registry.history_values import Layer

    layers = {Layer.MANIFEST, Layer.ENTRY, Layer.SETTINGS}
    if manifests != entries:
        layers = {Layer.MANIFEST, Layer.SETTINGS} if manifests else {Layer.ENTRY}
    return Wanted(frozenset(layers), frozenset(names or ()), host)


def _differences(
    reader: "HistoryReader", revisions: str | None, wanted: "Wanted"
) -> tuple[str | None, str | None, "tuple[ModelChange, ...]"]:
    """Return the two commits that are compared (``None`` after for the files here), and how they differ."""
    repository = reader.repository
    head = repository.head()
    text = revisions or ""
    if ".." not in text:
        before = repository.resolve(text) if text else head
        return before, None, reader.uncommitted(before, wanted)
    dots = "..." if "..." in text else ".."
    first, _, second = text.partition(dots)
    if ".." in second:
        raise UsageError(f"{text}: names more than two revisions", remedy="Give REV, REV..REV or REV...REV.")
    before, after = (repository.resolve(side) if side else head for side in (first, second))
    if dots == "..." and before is not None and after is not None:
        before = reader.fork_point(before, after)
    return before, after, reader.between(before, after, wanted)
