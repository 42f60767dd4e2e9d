"""Carry out changes through Ollama's daemon: pull, make, offer and remove; the working model is never lost."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from imageworks.files.progress import Progress
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.failpoints import failpoint
from imageworks.plan.facts import DeclaredModel
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.ollama.address import WrittenAddress
from imageworks.providers.ollama.errors import (
    OllamaDigestMismatchError,
    OllamaError,
    OllamaNeedsNewerError,
    OllamaNotFoundError,
)
from imageworks.providers.ollama.facts import (
    BuildInputs,
    OllamaFacts,
    artifacts_of,
    blobs_of,
    is_as_recorded,
    kept_name,
    marker,
    offerable,
    offered,
    offered_name,
    recorded_name,
    same,
    same_content,
    section,
    sight_in,
    stall_of,
)
from imageworks.providers.ollama.model import CreateSpec, OllamaModel, OllamaObservation, PullProgress, UpstreamOllama
from imageworks.providers.ollama.names import parse_name
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.providers.ollama.record import (
    InstalledOllamaModel,
    compose_ollama,
    renamed_ollama,
    stalled_entry,
    with_offer,
)
from imageworks.providers.ollama.repair_blobs import ARRIVING, BlobRepair, set_aside
from imageworks.providers.ollama.stream import PullLines
from imageworks.providers.record import emptied_entry
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, stands_in_store
from imageworks.registry.manifests.manifest import Modelfile, OllamaSource
from imageworks.registry.version_lock import lock_of

if TYPE_CHECKING:
    from imageworks.files.state import StateDatabase
    from imageworks.providers.ollama.service import OllamaService
    from imageworks.providers.publish_intents import PublishJournal

MOMENT_SECONDS: Final = 1.0


class OllamaApplyError(ImageworksError):
    """A change of a model of Ollama cannot be carried out as planned."""

    def __init__(
        self, message: str, *, remedy: str | None = None, reason: str | None = None, entry: Entry | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.entry = entry


class _Kept:
    """Whether what comes in a kept model's place is good."""

    is_done = False

    def done(self) -> None:
        """Say that it is."""
        self.is_done = True


class OllamaApplier:
    """Carries out what was planned; used from several threads at once."""

    def __init__(
        self,
        provider: "OllamaService",
        *,
        state: "StateDatabase",
        intents: "PublishJournal",
        progress: Progress,
        written: WrittenAddress,
    ) -> None:
        self._provider = provider
        self._state = state
        self._intents = intents
        self._progress = progress
        self._written = written
        self._stop = Event()
        self._blobs = BlobRepair(self._stop.is_set)
        self._turns: dict[tuple[str, ...], Lock] = defaultdict(Lock)
        self._guard = Lock()
        self._recent: tuple[float, OllamaObservation] | None = None
        self._leaving: frozenset[str] = frozenset()

    def cancel(self) -> None:
        """Call off what is under way; what came of a pull so far serves the next."""
        self._stop.set()

    def expect(self, names: Iterable[str]) -> None:
        """Learn which entries go in this run: of one model in Ollama, those that stay keep it."""
        self._leaving = frozenset(names)

    def carry_out(self, change: Change, case: DeclaredModel | None, entries: Mapping[str, Entry]) -> Entry | None:
        """Carry out one change and return the entry to record; ``None`` when the entry goes."""
        if change.action is Action.REMOVE:
            return self._remove(change, entries[change.previous_name or change.name], entries)
        sight = sight_in(case) if case is not None else None
        if case is None or sight is None:
            raise OllamaApplyError(f"{change.name}: Ollama was not looked at")
        if change.action is Action.MOVE and case.entry is not None:
            return renamed_ollama(case.entry, change.name)
        if not isinstance(case.manifest.source, OllamaSource):
            return self.offer(case, case.entry) if case.entry is not None else None
        names = [sight.name, *([recorded_name(case.entry) or ""] if case.entry else [])]
        with self._turn(*names):
            if change.action is Action.ADOPT:
                return self._adopt(change, case, sight, case.manifest.source)
            entry = self._bring(change, case, sight, case.manifest.source)
            self._leave_old_name(case, sight)
            return entry

    def _bring(self, change: Change, case: DeclaredModel, sight: OllamaFacts, source: OllamaSource) -> Entry:
        """Pull or make a model, verify it, and put back what stood before where it is not what was wanted."""
        name, made = sight.name, sight.made
        before = self._find(name)
        self._check_as_planned(sight, before)
        if before is None or sight.ours:
            self._intents.announce(change.name, marker(name))
        left = self._put_right(change, sight)
        if sight.bad and not left and (mended := self._whole(case, sight)) is not None:
            proved = self._verify(case, source, sight, mended)
            return self._compose(case, mended, "installed", proved, self._recorded_making(case))
        with (
            self._unless_nothing_came(change.name, name, before),
            self._keeping(before if stands_in_store(case.entry) and not left else None) as kept,
            set_aside({path: path.with_name(f"{path.name}{ARRIVING}-aside") for path in left}),
        ):
            try:
                if isinstance(made, BuildInputs) and source.modelfile is not None:
                    after = self._make(change, name, source.modelfile, made)
                else:
                    after = self._pull(change, sight)
            except OllamaNeedsNewerError as error:
                stall = stall_of(source, sight.seen.version)
                entry = stalled_entry(change.name, case.entry, stall, error.message, name)
                raise OllamaApplyError(error.message, remedy=error.remedy, reason=error.reason, entry=entry) from error
            failpoint("ollama.pulled")
            if not after.complete:
                raise OllamaApplyError(
                    f"{name}: Ollama said that all of it is there, and it is not",
                    remedy="Run again; see the daemon's log.",
                )
            try:
                proved = self._verify(case, source, sight, after)
            except OllamaApplyError:
                if before is None:
                    self._delete(name)
                raise
            kept.done()
        self._state.claim([(marker(name), after.digest)])
        base = made.base_name if isinstance(made, BuildInputs) else None
        extra = self._made_of(made, base) if isinstance(made, BuildInputs) else None
        return self._compose(case, after, "installed", proved, extra)

    def _put_right(self, change: Change, sight: OllamaFacts) -> tuple[Path, ...]:
        """Put damaged blobs right before anything else: a pull takes each that is there for a good one.

        Returns those of a model of our own making that only making it anew brings.
        """
        model, made, upstream = sight.installed, sight.made, sight.upstream
        if not sight.bad or model is None or model.store is None:
            return ()
        staying = set(model.content)
        if change.action is not Action.REPAIR and isinstance(upstream, UpstreamOllama):
            staying = set(upstream.content)
        wanted = (sight.bad | (sight.missing if change.action is Action.REPAIR else frozenset())) & staying
        where = made.base_name if isinstance(made, BuildInputs) else sight.name
        fetch = partial(self._provider.open_blob, where) if where is not None else None
        left = []
        with self._told(change) as told:
            for blob in blobs_of(model.config_digest, model.layers, model.size):
                path = model.store / "blobs" / f"sha256-{blob.digest}"
                if blob.digest not in wanted:
                    continue
                try:
                    self._blobs.put_right(blob, path, local=sight.reuse.get(blob.digest), fetch=fetch, told=told)
                except (OllamaNotFoundError, OllamaDigestMismatchError):
                    if not isinstance(made, BuildInputs) or sight.also_have({blob.digest}):
                        raise
                    left.append(path)
        return tuple(path for path in left if path.exists())

    def _whole(self, case: DeclaredModel, sight: OllamaFacts) -> OllamaModel | None:
        """Return a model that is as recorded now that its blobs are right; ``None`` where it still needs to come."""
        model = self._find(sight.name)
        as_recorded = model is not None and case.entry is not None and is_as_recorded(case.entry, model)
        return model if model is not None and as_recorded and model.complete else None

    def _recorded_making(self, case: DeclaredModel) -> Mapping[str, object] | None:
        recorded = section(case.entry) if case.entry is not None else {}
        made = {key: recorded[key] for key in ("spec", "base", "base_name") if key in recorded}
        return made or None

    def _check_as_planned(self, sight: OllamaFacts, before: OllamaModel | None) -> None:
        """Refuse to replace what somebody put there after the plan was made; what this run brought is ours."""
        planned = sight.installed
        same_as_planned = before is None or (planned is not None and planned.digest == before.digest)
        if not same_as_planned and before is not None and self._state.claimed(marker(sight.name)) != before.digest:
            raise OllamaApplyError(
                f"{sight.name} was put into Ollama while this run was planned", remedy="Nothing was done; run again."
            )

    def _pull(self, change: Change, sight: OllamaFacts) -> OllamaModel:
        for digest, path in sorted(sight.reuse.items()):
            try:
                self._provider.upload_blob(path, digest, cancelled=self._stop.is_set)
            except OllamaError as error:
                self._progress.note(change.name, f"{path} is not reused ({error.message}); Ollama fetches it instead")
        with self._told(change) as told:
            return self._provider.pull(sight.name, told=told, cancelled=self._stop.is_set)

    def _make(self, change: Change, name: str, modelfile: Modelfile, made: BuildInputs) -> OllamaModel:
        if made.base_follows and made.base_name is not None and self._find(made.base_name) is None:
            names = ", ".join(sorted(made.base_follows))
            raise OllamaApplyError(
                f"{name}: its base {made.base_name} is not in Ollama: {names} did not come",
                remedy="Nothing was made, as Ollama would pull whatever has that name. Mend the base first.",
            )
        for text, digest in sorted(made.files.items()):
            self._provider.upload_blob(Path(text).expanduser(), digest, cancelled=self._stop.is_set)
        adapters = {f"{i}-{Path(text).name}": made.files[text] for i, text in enumerate(modelfile.adapters)}
        files = {Path(text).name: digest for text, digest in made.files.items() if text not in modelfile.adapters}
        spec = CreateSpec(
            name=name,
            base=made.base_name,
            files=files,
            adapters=adapters,
            template=modelfile.template,
            system=modelfile.system,
            license=(modelfile.license,) if modelfile.license else (),
            parameters=_as_taken(modelfile.parameters),
        )
        with self._told(change) as told:
            return self._provider.create(spec, told=told, cancelled=self._stop.is_set)

    def _made_of(self, made: BuildInputs, base: str | None) -> dict[str, object]:
        now = self._find(base) if base is not None else None
        return {
            "spec": made.spec,
            "base": list(now.content or (now.digest,)) if now is not None else None,
            "base_name": base,
        }

    def _verify(self, case: DeclaredModel, source: OllamaSource, sight: OllamaFacts, model: OllamaModel) -> str | None:
        """Return the pin that a model was proved to be; raise where it is not what was declared."""
        upstream = sight.upstream if isinstance(sight.upstream, UpstreamOllama) else None
        pin = source.digest
        proved = upstream is not None and upstream.digest == pin and same_content(model, upstream)
        if pin is not None and model.digest != pin and not proved:
            raise OllamaApplyError(
                f"{sight.name}: what Ollama pulled is {model.digest[:12]}, pinned is {pin[:12]}",
                remedy="What stood before is put back. Move the pin, or declare the tag that is meant.",
                reason="ollama-digest-mismatch",
            )
        expected = lock_of(case.manifest, case.entry).digest
        found = aggregate_sha256(artifacts_of(model))
        if expected not in {None, found}:
            raise OllamaApplyError(
                f"{case.manifest.file}: version_lock expects {expected}, and {sight.name} is {found}",
                remedy="What stood before is put back. Declare the tag that is meant, or unlock it.",
                reason=Reason.LOCKED.value,
            )
        return pin

    def _adopt(self, change: Change, case: DeclaredModel, sight: OllamaFacts, source: OllamaSource) -> Entry:
        """Record what is in Ollama already, unless it changed while the run was planned."""
        model = self._find_recently(sight.name)
        planned = sight.installed
        if model is None or planned is None or model.digest != planned.digest:
            raise OllamaApplyError(
                f"{sight.name} was changed in Ollama while this run was planned",
                remedy="Nothing was recorded; run again.",
            )
        self._verify(case, source, sight, model)
        ours = sight.ours or self._state.claimed(marker(sight.name)) == model.digest
        if ours:
            self._state.claim([(marker(sight.name), model.digest)])
        entry = self._compose(case, model, "installed" if ours else "adopted", source.digest, None)
        if change.reason is Reason.SOURCE_CHANGED:
            self._leave_old_name(case, sight)
        return entry

    def _compose(
        self,
        case: DeclaredModel,
        model: OllamaModel,
        acquisition: str,
        pin: str | None,
        made: Mapping[str, object] | None,
    ) -> Entry:
        sight = sight_in(case)
        shown = None
        with suppress(OllamaError):  # what it says besides is told, and decides nothing
            shown = self._provider.show(model.name)
        upstream = sight.upstream if sight is not None and isinstance(sight.upstream, UpstreamOllama) else None
        found = InstalledOllamaModel(model, shown, upstream, pin, made)
        name = case.manifest.name
        return compose_ollama(
            name, found, host=self._written.host, port=self._written.port, acquisition=acquisition, before=case.entry
        )

    def _leave_old_name(self, case: DeclaredModel, sight: OllamaFacts) -> None:
        """Remove what the entry named before, where it was ours and nobody else has it."""
        entry = case.entry
        if entry is None or not stands_in_store(entry) or same(recorded_name(entry), sight.name):
            return
        old = recorded_name(entry) or ""
        model = self._find(old)
        if model is None or not entry.installed_by_us or not is_as_recorded(entry, model):
            return
        if sight.others or self._state.claimed(marker(old)) != model.digest or sight.is_in_use(old):
            self._progress.note(case.manifest.name, f"{old} stays in Ollama: it is in use, or not ours alone to remove")
            return
        self._delete(old)
        self._state.disclaim([marker(old)])

    def _remove(self, change: Change, entry: Entry, entries: Mapping[str, Entry]) -> Entry | None:
        """Remove a model from Ollama where the plan says so and it still is what is recorded."""
        name = recorded_name(entry) or ""
        kept_by = sorted(
            other.name
            for other in entries.values()
            if other.name not in {entry.name, *self._leaving} and stands_in_store(other)
            if same(recorded_name(other), name)
        )
        if change.drop and kept_by:
            self._progress.note(change.name, f"{name} stays in Ollama: {', '.join(kept_by)} has it too")
        elif change.drop:
            with self._turn(name):
                seen = self._provider.observe()
                model = seen.find(name)
                if model is not None and seen.is_in_use(name):
                    raise OllamaApplyError(
                        f"{name} was loaded while this run was planned",
                        remedy=f"`ollama stop {name}` unloads it; then run again.",
                        reason=OllamaReason.IN_USE.value,
                    )
                if model is not None and is_as_recorded(entry, model):
                    self._delete(name)
                self._state.disclaim([marker(name)])
        failpoint("ollama.removed")
        return emptied_entry(entry, change.name) if change.reason is Reason.DECLARED_ABSENT else None

    def offer(self, case: DeclaredModel, entry: Entry) -> Entry:
        """Give a GGUF of ours to Ollama, and return the entry that says so."""
        name, sight = offered_name(case.manifest), sight_in(case)
        ggufs = offerable(entry)
        if name is None or sight is None or not ggufs:
            return entry
        name = parse_name(name).shortest
        with self._turn(name):
            known = offered(case.entry)
            before = self._find(name)
            ours = known is not None and same(known, name)
            if before is not None and not ours and not sight.ours:
                raise OllamaApplyError(
                    f"{name} is in Ollama already, made by someone else", remedy="Declare another `served_model_id`."
                )
            self._intents.announce(case.manifest.name, marker(name))
            with self._keeping(before) as kept:
                self._upload(case.manifest.name, entry, ggufs)
                files = {Path(file.path).name: file.sha256 for file in ggufs}
                after = self._provider.create(CreateSpec(name=name, files=files), cancelled=self._stop.is_set)
                kept.done()
            self._state.claim([(marker(name), after.digest)])
            if known is not None and not ours:
                self.withdraw(case.entry)
        offer = {
            "name": after.name,
            "digest": after.digest,
            "content": list(after.content) or None,
            "files": aggregate_sha256(entry.files),
        }
        offered_as = with_offer(entry, {key: value for key, value in offer.items() if value is not None})
        config = {**entry.part("backend_config"), **self._written.fields}
        return replace(offered_as, fields={**offered_as.fields, "backend_config": config})

    def _upload(self, name: str, entry: Entry, files: Iterable[ArtifactFile]) -> None:
        """Give files to Ollama's store, telling how far that is."""

        def told(count: int) -> None:
            self._progress.advance(name, count)

        listed = list(files)
        self._progress.start(name, sum(file.size for file in listed), "uploading")
        try:
            for file in listed:
                path = entry.base / file.path
                self._provider.upload_blob(path, file.sha256, told=told, cancelled=self._stop.is_set)
        finally:
            self._progress.finish(name)

    def offer_brought(self, case: DeclaredModel, entry: Entry) -> Entry:
        """Offer files that have just been brought."""
        if offered(case.entry) is not None and case.entry is not None:
            entry = with_offer(entry, section(case.entry))
        sight = sight_in(case)
        if sight is None or not sight.reachable:
            return entry
        try:
            return self.offer(case, entry)
        except (OllamaError, OllamaApplyError) as error:
            message = f"{case.manifest.name}: its files are here, and Ollama did not take them: {error.message}"
            raise OllamaApplyError(message, remedy=error.remedy, reason=error.reason, entry=entry) from error

    def withdraw(self, entry: Entry | None) -> None:
        """Remove from Ollama what it was given of a model's files, where it still is just that."""
        name = offered(entry)
        if entry is None or name is None:
            return
        model = self._find(name)
        if model is not None and is_as_recorded(entry, model) and self._state.claimed(marker(name)) == model.digest:
            self._delete(name)
            self._state.disclaim([marker(name)])
        elif model is not None:
            self._progress.note(entry.name, f"{name} stays in Ollama: it is not what was offered there")

    def _find(self, name: str) -> OllamaModel | None:
        return self._provider.observe().find(name)

    def _find_recently(self, name: str) -> OllamaModel | None:
        """Return a model as it stood a moment ago: hundreds that are adopted at once need not each look at all."""
        with self._guard:
            if self._recent is None or time.monotonic() - self._recent[0] > MOMENT_SECONDS:
                self._recent = (time.monotonic(), self._provider.observe())
            return self._recent[1].find(name)

    def _delete(self, name: str) -> None:
        with suppress(OllamaNotFoundError):  # gone already
            self._provider.delete(name)

    @contextmanager
    def _unless_nothing_came(self, variant: str, name: str, before: OllamaModel | None) -> Iterator[None]:
        """Withdraw what was announced where nothing came: what a person pulls later is not to be taken for ours."""
        try:
            yield
        except ImageworksError:
            seen = self._provider.observe()
            if before is None and seen.origin != "nothing" and seen.find(name) is None:
                self._intents.settle(variant)
            raise

    @contextmanager
    def _keeping(self, before: OllamaModel | None) -> Iterator[_Kept]:
        """Keep a model under a name of ours until its successor is good; otherwise put it back."""
        kept = _Kept()
        if before is None:
            yield kept
            return
        name = kept_name(before.name)
        self._state.claim([(marker(name), before.digest)])
        self._provider.copy(before.name, name)
        failpoint("ollama.kept")
        try:
            yield kept
        finally:
            self._settle_kept(name, before.name, put_back=not kept.is_done)

    def _settle_kept(self, kept: str, name: str, *, put_back: bool) -> None:
        """Forget a kept model, putting it back before where its successor is not good."""
        if put_back:
            self._provider.copy(kept, name)
        self._delete(kept)
        self._state.disclaim([marker(kept)])

    @contextmanager
    def _turn(self, *names: str) -> Iterator[None]:
        """Wait until no other change touches these models."""
        with self._guard:
            locks = [self._turns[key] for key in sorted({parse_name(name).key for name in names if name})]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield

    @contextmanager
    def _told(self, change: Change) -> Iterator[Callable[[PullProgress], None]]:
        lines = PullLines(self._progress, change)
        try:
            yield lines
        finally:
            lines.finish()


def _as_taken(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """Return parameters as the API takes them: a text alone for `stop` would be stored, and refused at each run."""
    stop = parameters.get("stop")
    return {**parameters, "stop": [stop]} if isinstance(stop, str) else parameters
