"""Look at Ollama once a run: what it has, what its registry offers, and what becomes of it for each model."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.foundation.errors import ImageworksError
from imageworks.host.settings import how_to_allow
from imageworks.plan.facts import Blocker, DeclaredModel, FileState, Observation, UndeclaredModel
from imageworks.plan.plan import Reason, reason_of
from imageworks.providers.at_once import at_once
from imageworks.providers.locations import no_place
from imageworks.providers.ollama.decide import needs_registry
from imageworks.providers.ollama.errors import OllamaError, OllamaNameError
from imageworks.providers.ollama.facts import (
    PROVIDER,
    Blob,
    BuildInputs,
    OllamaFacts,
    blobs_of,
    is_as_recorded,
    kept_name,
    marker,
    observation_of,
    offered,
    offered_name,
    recorded_name,
    same,
    sight_in,
    spec_of,
)
from imageworks.providers.ollama.leftovers import leftovers_in, notes_on
from imageworks.providers.ollama.model import OllamaModel, OllamaObservation, UpstreamOllama
from imageworks.providers.ollama.names import parse_name, stored_name
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.providers.ollama.repair_blobs import is_right
from imageworks.providers.ollama.store import StoreReading, read_partials, read_store
from imageworks.registry.entries.entry import Entry, is_in_store, stands_in_store
from imageworks.registry.manifests.manifest import Manifest, Modelfile, OllamaSource, State
from imageworks.registry.settings.model_places import Use

if TYPE_CHECKING:
    from imageworks.files.content_index import ContentIndex
    from imageworks.files.state import StateDatabase
    from imageworks.providers.disk import DiskObserver
    from imageworks.providers.locations import HostLocations
    from imageworks.providers.ollama.service import OllamaService

ASKING_THREADS: Final = 8
READ_WHOLE_BYTES: Final = 1024 * 1024
"""What is smaller is read while planning, where the daemon passes a model over: configs, templates, parameters."""


class OllamaObserver:
    """Answers for all models of one run; the daemon is not contacted before the first is asked for."""

    def __init__(  # noqa: PLR0913 # the narrow classes that looking needs
        self,
        open_provider: "Callable[[], OllamaService]",
        *,
        state: "StateDatabase",
        disk: "DiskObserver",
        places: "HostLocations",
        content: "ContentIndex",
        stores: tuple[Path, ...],
        offline: bool,
        writable: bool,
        told: Callable[[str], None],
    ) -> None:
        self._open_provider = open_provider
        self._state = state
        self._disk = disk
        self._places = places
        self._content = content
        self._stores = stores
        self._offline = offline
        self._writable = writable
        self._told = told
        self._declared: dict[tuple[str, ...], set[str]] = defaultdict(set)
        self._recorded: dict[tuple[str, ...], set[str]] = defaultdict(set)
        self._wanted: dict[tuple[str, ...], dict[str, OllamaSource]] = defaultdict(dict)
        self._distrusted: dict[str, frozenset[str]] = {}
        self._announced: Mapping[str, Path] = {}

    @cached_property
    def provider(self) -> "OllamaService":
        """The door to Ollama, opened on first use."""
        return self._open_provider()

    @cached_property
    def seen(self) -> OllamaObservation:
        """Everything that Ollama has, looked at once."""
        try:
            return self.provider.observe()
        except OllamaError as error:  # no address to ask at
            return OllamaObservation(problem=error.message, remedy=error.remedy)

    @cached_property
    def leftovers(self) -> tuple[str, ...]:
        """What fills the stores of this host and belongs to no model, a line for each store."""
        return notes_on(leftovers_in(self._stores))

    def distrust(self, entry: Entry) -> None:
        """Take blobs for damaged that somebody read; those that are gone are no worse than others that must come."""
        there = set()
        for file in entry.files:
            with suppress(OSError):  # nobody read what cannot be looked at, so nobody found it damaged
                (entry.base / file.path).lstat()
                there.add(file.sha256)
        self._distrusted[entry.name] = frozenset(there)

    def begin(self, manifests: Iterable[Manifest], entries: Iterable[Entry], announced: Mapping[str, Path]) -> None:
        """Learn which models are Ollama's, and put back what a killed run was about to replace."""
        self._declared.clear()
        self._recorded.clear()
        self._wanted.clear()
        self._announced = announced
        declared = list(manifests)
        for manifest in declared:
            name = manifest.source.name if isinstance(manifest.source, OllamaSource) else offered_name(manifest)
            if name is not None and manifest.state is not State.ABSENT:
                self._declared[_key(name)].add(manifest.name)
            if isinstance(manifest.source, OllamaSource) and manifest.state is State.PRESENT:
                self._wanted[_key(manifest.source.name)][manifest.name] = manifest.source
        listed, absent = list(entries), {one.name for one in declared if one.state is State.ABSENT}
        for entry in listed:
            name = recorded_name(entry) if stands_in_store(entry) else offered(entry)
            if name is not None and entry.name not in absent:
                self._recorded[_key(name)].add(entry.name)
        if self._writable and self.seen.daemon_answers and self._put_back(listed):
            del self.seen

    def case(self, case: DeclaredModel) -> DeclaredModel:
        """Return a case with what Ollama has of it."""
        source, entry = case.manifest.source, case.entry
        if isinstance(source, OllamaSource):
            name: str | None = source.name
        else:
            name = offered_name(case.manifest) or offered(entry) or (recorded_name(entry) if entry else None)
        try:
            name = parse_name(name or "").shortest
        except OllamaNameError as error:
            if isinstance(source, OllamaSource):
                return replace(case, place=Blocker(OllamaReason.NAME, _text(error, case.manifest.file)))
            return case
        if isinstance(source, OllamaSource) and (other := self._contradicted(case.manifest, source)) is not None:
            message = f"{case.manifest.file}: {other} wants {name} otherwise, and Ollama has one model of a name"
            told = f"{message}; give one of them another name, or the same content"
            return replace(case, place=Blocker(Reason.INVALID_MANIFEST, told))
        sight = self._sight(name, case.manifest.name, entry, going=case.manifest.state is State.ABSENT)
        after: frozenset[str] = frozenset()
        if isinstance(source, OllamaSource) and source.modelfile is not None:
            made = self._made(source.modelfile, case.manifest, name)
            after = made.base_follows if isinstance(made, BuildInputs) else after
            sight = replace(sight, made=made)
        seen = self.observe(entry) if entry is not None and is_in_store(entry) else case.observation
        return replace(_with(case, sight), observation=seen, after=after)

    def _contradicted(self, manifest: Manifest, source: OllamaSource) -> str | None:
        """Return another manifest that wants something else under the same name, or ``None``."""
        if manifest.state is not State.PRESENT:
            return None
        for other, wanted in sorted(self._wanted[_key(source.name)].items()):
            pins = {wanted.digest, source.digest} - {None}
            if other != manifest.name and (len(pins) > 1 or wanted.modelfile != source.modelfile):
                return other
        return None

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model stands in Ollama."""
        found = observation_of(entry, self.seen, distrusted=bool(self._distrusted.get(entry.name)))
        name = recorded_name(entry)
        if found is None or found.exists or name is None or (there := self._unlisted(name)) is None:
            return found
        bad, missing = self._damage(there, entry)
        damaged = {f"blobs/sha256-{digest}": FileState.DIGEST for digest in bad}
        damaged |= {f"blobs/sha256-{digest}": FileState.MISSING for digest in missing}
        return replace(found, exists=True, damaged=damaged) if damaged else found

    def sight_of(self, entry: Entry) -> OllamaFacts | None:
        """Return what Ollama has of a recorded model; ``None`` for one that it never had."""
        name = recorded_name(entry) if stands_in_store(entry) else offered(entry)
        return None if name is None else self._sight(name, entry.name, entry, going=True)

    def orphan(self, orphan: UndeclaredModel) -> UndeclaredModel:
        """Return a recorded model that nobody declares, with what Ollama has of it."""
        sight = self.sight_of(orphan.entry)
        return (
            orphan if sight is None else replace(orphan, facts={**orphan.facts, PROVIDER: sight}, others=sight.others)
        )

    def ask(self, cases: list[DeclaredModel]) -> list[DeclaredModel]:
        """Return all cases in their order, having asked the registry for those that need it, several at once."""
        asking = [i for i, case in enumerate(cases) if sight_in(case) is not None and needs_registry(case)]
        answers = at_once(lambda i: self._asked(cases[i]), asking, threads=ASKING_THREADS)
        answered = list(cases)
        for i, answer in zip(asking, answers, strict=True):
            answered[i] = answer
        return answered

    def _sight(self, name: str, variant: str, entry: Entry | None, *, going: bool) -> OllamaFacts:
        seen, announced = self.seen, self._announced.get(variant)
        under = name
        if entry is not None and (stands_in_store(entry) or offered(entry)):
            under = recorded_name(entry) or name
        recorded = seen.find(under)
        installed = seen.find(name)
        bad, missing = self._damage(installed, entry)
        if installed is None and (unlisted := self._unlisted(name)) is not None:
            bad, missing = self._damage(unlisted, entry)
            installed = unlisted if bad or missing else None
        others = (self._declared[_key(under)] | self._recorded[_key(under)]) - {variant}
        if entry is not None:
            others -= {entry.name}
        return OllamaFacts(
            seen=seen,
            name=name,
            installed=installed,
            recorded=recorded,
            filesystem=self._filesystem,
            ours=announced is not None and announced == marker(name),
            # Asked of the state for the few that go alone: it is a query for each.
            claimed=going and recorded is not None and self._state.claimed(marker(under)) == recorded.digest,
            others=tuple(sorted(others)),
            bad=bad,
            missing=missing,
            replaceable=_is_writable(installed),
            offline=self._offline,
            unusable=self._unusable.get(_key(name)) if installed is None and seen.daemon_answers else None,
        )

    def _unlisted(self, name: str) -> OllamaModel | None:
        """Return a model that the daemon passes over because it cannot use its config or template, from the store."""
        if not self.seen.daemon_answers or self._store is None:
            return None
        return self._passed_over.get(_key(name))

    @cached_property
    def _held(self) -> StoreReading | None:
        """What the store itself has, for models that the daemon does not list."""
        try:
            return read_store(self._store, described=False) if self._store is not None else None
        except OllamaError:
            return None

    @cached_property
    def _passed_over(self) -> Mapping[tuple[str, ...], OllamaModel]:
        held = self._held.models if self._held is not None else ()
        return {_key(model.name): model for model in held if self.seen.find(model.name) is None}

    @cached_property
    def _unusable(self) -> Mapping[tuple[str, ...], str]:
        """Manifests that the daemon cannot use, each with its file and why; their models are not gone."""
        if self._held is None:
            return {}
        folder = self._held.folder / "manifests"
        named = [
            (stored_name(path.relative_to(folder).parts), f"{path}: {why}")
            for path, why in self._held.damaged
            if path.is_relative_to(folder)
        ]
        return {name.key: told for name, told in named if name is not None}

    def _damage(self, installed: OllamaModel | None, entry: Entry | None) -> tuple[frozenset[str], frozenset[str]]:
        """Return the blobs of a model that are there and damaged, which a pull takes for good ones, and those missing.

        What cannot be looked at is neither: the daemon may well read it.
        """
        if installed is None:
            return frozenset(), frozenset()
        read = self._distrusted.get(entry.name, frozenset()) if entry is not None else frozenset()
        bad, missing = set(read.intersection(installed.content)), set()
        passed_over = self.seen.daemon_answers and self.seen.find(installed.name) is None
        if installed.store is None or (installed.complete and not passed_over):
            return frozenset(bad), frozenset()
        for blob in blobs_of(installed.config_digest, installed.layers, installed.size):
            path = installed.store / "blobs" / f"sha256-{blob.digest}"
            try:
                size = path.stat().st_size
                if size != blob.size or (passed_over and size <= READ_WHOLE_BYTES and not is_right(path, blob)):
                    bad.add(blob.digest)
            except (FileNotFoundError, NotADirectoryError):
                missing.add(blob.digest)
            except (OSError, OllamaError):
                continue
        return frozenset(bad), frozenset(missing)

    @cached_property
    def _store(self) -> Path | None:
        known = next((model.store for model in self.seen.models if model.store is not None), None)
        if known is not None or not self.seen.daemon_answers or not self.provider.address.is_loopback:
            return known
        return next((folder for folder in self._stores if folder.is_dir()), None)

    @cached_property
    def _begun(self) -> Mapping[str, int]:
        """What pulls that were broken off have left in the store."""
        try:
            left = read_partials(self._store) if self._store is not None else ()
        except OllamaError:
            return {}
        return {partial.digest: partial.received for partial in left}

    @cached_property
    def _filesystem(self) -> str | None:
        return None if self._store is None else self._places.measure(self._store)

    def _asked(self, case: DeclaredModel) -> DeclaredModel:
        sight = sight_in(case)
        if sight is None:
            return case
        try:
            upstream: UpstreamOllama | Blocker | None = self.provider.upstream(sight.name)
            if upstream is None:
                message = f"the registry has no model {sight.name}"
                upstream = Blocker(OllamaReason.NOT_FOUND, f"{message}; check its name and tag")
        except OllamaError as error:
            upstream = Blocker(reason_of(error.reason, Reason.HUB_UNREACHABLE), _text(error))
        if isinstance(upstream, Blocker):
            return _with(case, replace(sight, upstream=upstream, reuse=self._reusable(sight)))
        blobs = blobs_of(upstream.config_digest, upstream.layers, upstream.size)
        here = self._here(blobs)
        here -= sight.bad
        missing = [blob for blob in blobs if blob.digest not in here]
        reuse = {blob.digest: path for blob in missing if (path := self._found(blob)) is not None}
        begun = self._begun if missing else {}
        reuse |= self._reusable(sight)
        return _with(case, replace(sight, upstream=upstream, here=here, reuse=reuse, begun=begun))

    def _reusable(self, sight: OllamaFacts) -> dict[str, Path]:
        """Return what this host has of a model's damaged or missing blobs."""
        model = sight.installed
        if model is None or not sight.bad:
            return {}
        blobs = blobs_of(model.config_digest, model.layers, model.size)
        lost = [blob for blob in blobs if blob.digest in sight.bad | sight.missing]
        return {blob.digest: path for blob in lost if (path := self._found(blob)) is not None}

    def _here(self, blobs: Iterable[Blob]) -> frozenset[str]:
        """Return which blobs the store has: of complete models, and what an upload or an earlier pull left."""
        known = {digest for model in self.seen.models if model.complete for digest in model.content}
        found = set()
        for blob in blobs:
            if blob.digest in known:
                found.add(blob.digest)
            elif self._store is not None:
                with suppress(OSError):
                    if (self._store / "blobs" / f"sha256-{blob.digest}").stat().st_size == blob.size:
                        found.add(blob.digest)
        return frozenset(found)

    def _found(self, blob: Blob) -> Path | None:
        """Return another file of this host that should hold a blob's bytes."""
        wanted = RemoteFile(blob.digest, blob.size, Digest(Algorithm.SHA256, blob.digest), large=True)
        own = None if self._store is None else os.path.realpath(self._store / "blobs" / f"sha256-{blob.digest}")
        return next((path for path in self._content.find_all(wanted, None) if os.path.realpath(path) != own), None)

    def _made(self, modelfile: Modelfile, manifest: Manifest, name: str) -> BuildInputs | Blocker:
        """Return what a modelfile stands for now, its files hashed."""
        if modelfile.base is None:
            message = f"{manifest.file}: a modelfile needs `from:`, the model or GGUF file that it builds on"
            return Blocker(Reason.INVALID_MANIFEST, message)
        named = [*([modelfile.base] if _is_path(modelfile.base) else []), *modelfile.adapters]
        digests: dict[str, str] = {}
        for text in named:
            path = Path(text).expanduser()
            if not self._places.allows(path):
                message = f"{manifest.file}: {path} is outside the folders that this host allows"
                return Blocker(Reason.ROOT_NOT_ALLOWED, f"{message}; {how_to_allow(path.parent)}")
            if (why := self._places.why_not(path, Use.SOURCE)) is not None:
                return no_place(path, why, manifest.file)
            try:
                digest = self._disk.digest(path, path.stat(), Algorithm.SHA256) if path.is_file() else None
            except OSError:
                digest = None
            if digest is None:
                return Blocker(Reason.SOURCE_MISSING, f"{manifest.file}: {path} is no file that can be read")
            digests[text] = digest.value
        if not _is_path(modelfile.base) and same(modelfile.base, name):
            message = f"{manifest.file}: {name} would be made of itself; build it under another name than its base's"
            return Blocker(Reason.INVALID_MANIFEST, message)
        if _is_path(modelfile.base):
            return BuildInputs(spec_of(modelfile, digests), files=digests)
        try:
            base = parse_name(modelfile.base)
        except OllamaNameError as error:
            return Blocker(OllamaReason.NAME, _text(error, manifest.file))
        return BuildInputs(
            spec_of(modelfile, digests),
            base=self.seen.find(base.shortest),
            base_name=base.shortest,
            files=digests,
            base_follows=frozenset(self._declared[base.key] - {manifest.name}),
        )

    def _put_back(self, entries: Iterable[Entry]) -> bool:
        """Put back models that a killed run kept while another came, and forget those that are not needed any more."""
        changed = False
        for entry in entries:
            name = recorded_name(entry) if stands_in_store(entry) else offered(entry)
            kept = None if name is None else self.seen.find(kept_name(name))
            if name is None or kept is None or self._state.claimed(marker(kept.name)) != kept.digest:
                continue
            now = self.seen.find(name)
            try:
                if is_as_recorded(entry, kept) and (now is None or not is_as_recorded(entry, now)):
                    self.provider.copy(kept.name, name)
                    self._told(f"{name}: put back as it was before an interrupted run")
                self.provider.delete(kept.name)
            except OllamaError as error:
                self._told(error.render())
                continue
            self._state.disclaim([marker(kept.name)])
            changed = True
        return changed


def _key(name: str) -> tuple[str, ...]:
    try:
        return parse_name(name).key
    except OllamaNameError:
        return (name,)


def _is_writable(model: OllamaModel | None) -> bool:
    return model is not None and model.store is not None and os.access(model.store / "blobs", os.W_OK | os.X_OK)


def _with(case: DeclaredModel, sight: OllamaFacts) -> DeclaredModel:
    return replace(case, facts={**case.facts, PROVIDER: sight})


def _is_path(text: str) -> bool:
    return text.startswith(("/", "~/"))


def _text(error: ImageworksError, file: str | None = None) -> str:
    text = error.message if error.remedy is None else f"{error.message}; {error.remedy}"
    return f"{file}: {text}" if file else text
