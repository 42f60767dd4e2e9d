"""What one model of Ollama needs, as a table: each action and each reason with the case that gives it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from imageworks.plan.facts import Blocker, DeclaredModel, FileState
from imageworks.plan.plan import Action, Reason
from imageworks.providers.dispatch import decide
from imageworks.providers.folder.decide import needs_upstream
from imageworks.providers.ollama.decide import needs_registry
from imageworks.providers.ollama.decide_built import rebuilt
from imageworks.providers.ollama.decide_removed import freed_by, ollama_removal
from imageworks.providers.ollama.facts import BuildInputs, OllamaFacts, kept_name, observation_of, ollama_word, stall_of
from imageworks.providers.ollama.model import OllamaLayer, OllamaModel, OllamaObservation, UpstreamOllama
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.providers.ollama.record import InstalledOllamaModel, compose_ollama, stalled_entry
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import OllamaSource
from support.plans import FILESYSTEM, NOW, entry, manifest, plan_of

TAG = "qwen2.5vl:7b"
STORE = Path("/ollama store")
ONE, TWO = "1" * 64, "2" * 64
VERSION = "0.33.0"


def installed(digest: str = ONE, name: str = TAG, **more: object) -> OllamaModel:
    """Return a model whose content follows from the first digit of its digest."""
    weights = OllamaLayer("application/vnd.ollama.image.model", digest[0] * 63 + "a", 1000)
    known = {"size": 1010, "config_digest": digest[0] * 63 + "c", "layers": (weights,), "store": STORE, **more}
    return OllamaModel(name, digest, **known)  # type: ignore[arg-type]


BAD = frozenset({installed().layers[0].digest})


def offered(digest: str = ONE, **more: object) -> UpstreamOllama:
    model = installed(digest)
    known = {"config_digest": model.config_digest, "layers": model.layers, "size": model.size, **more}
    return UpstreamOllama(TAG, digest, **known)  # type: ignore[arg-type]


def recorded(model: OllamaModel | None = None, acquisition: str = "installed", **more: object) -> Entry:
    found = InstalledOllamaModel(model or installed(), **more)  # type: ignore[arg-type]
    return compose_ollama("m", found, host="localhost", acquisition=acquisition, now=NOW)


def sight(*models: OllamaModel, origin: str = "api", in_use: bool = False, **more: object) -> OllamaFacts:
    seen = OllamaObservation(
        models=models,
        origin=origin,  # type: ignore[arg-type]
        version=VERSION if origin == "api" else None,
        in_use=frozenset({TAG}) if in_use else frozenset(),
    )
    found = seen.find(TAG)
    known: dict[str, object] = {"installed": found, "recorded": found, "claimed": True, "replaceable": True, **more}
    return OllamaFacts(seen, TAG, **known)  # type: ignore[arg-type]


def case(
    look: OllamaFacts, record: Entry | None = None, *, pin: str | None = None, source: object = None, **fields: object
) -> DeclaredModel:
    said = source or {"ollama": TAG, **({"digest": f"sha256:{pin}"} if pin else {})}
    previous = fields.pop("previous_name", None)
    return DeclaredModel(
        manifest(source=said, **fields),  # type: ignore[arg-type]
        entry=record,
        facts={"ollama": look},
        previous_name=previous,  # type: ignore[arg-type]
    )


def gone() -> Blocker:
    return Blocker(OllamaReason.NOT_FOUND, "no such model")


def silent() -> Blocker:
    return Blocker(Reason.HUB_UNREACHABLE, "the registry does not answer")


def stalled(version: str = VERSION) -> Entry:
    return stalled_entry("m", None, stall_of(OllamaSource(TAG), version), "too old", TAG)


def locked(digest: str | None = None) -> dict[str, Any]:
    return {"version_lock": {"locked": True, **({"expected_aggregate_sha256": digest} if digest else {})}}


BLOCKED = Action.BLOCKED
CASES: Mapping[str, tuple[Callable[[], DeclaredModel], Action | None, StrEnum | None]] = {
    "nothing is there": (lambda: case(sight(upstream=offered())), Action.INSTALL, Reason.MISSING),
    "nothing is known of what comes": (lambda: case(sight(upstream=silent())), Action.INSTALL, Reason.MISSING),
    "it is there": (lambda: case(sight(installed())), Action.ADOPT, Reason.FOUND),
    "part of it is there": (
        lambda: case(sight(installed(complete=False), upstream=offered())),
        Action.INSTALL,
        Reason.MISSING,
    ),
    "it stands as recorded": (lambda: case(sight(installed()), recorded()), None, None),
    "it stands as recorded, by its store alone": (
        lambda: case(sight(installed(), origin="store"), recorded()),
        None,
        None,
    ),
    "it stands as recorded, and pinned": (lambda: case(sight(installed()), recorded(), pin=ONE), None, None),
    "the manifest was written anew, the layers are the same": (
        lambda: case(sight(replace(installed(), digest="9" * 64)), recorded()),
        None,
        None,
    ),
    "the daemon alone knows it": (
        lambda: case(
            sight(installed(config_digest=None, layers=(), store=None)),
            recorded(installed(config_digest=None, layers=(), store=None)),
        ),
        None,
        None,
    ),
    "the pin is there": (lambda: case(sight(installed()), pin=ONE), Action.ADOPT, Reason.FOUND),
    "the pin is there under other manifest bytes": (
        lambda: case(sight(replace(installed(), digest="9" * 64), upstream=offered()), pin=ONE),
        Action.ADOPT,
        Reason.FOUND,
    ),
    "something else than the pin is there": (
        lambda: case(sight(installed(TWO), upstream=offered()), pin=ONE),
        BLOCKED,
        Reason.UNOWNED_FILES,
    ),
    "something is there, and nobody says whether it is the pin": (
        lambda: case(sight(installed(TWO), upstream=silent()), pin=ONE),
        BLOCKED,
        Reason.HUB_UNREACHABLE,
    ),
    "a killed run of ours left something else than the pin": (
        lambda: case(sight(installed(TWO), upstream=offered(), ours=True), pin=ONE),
        Action.INSTALL,
        Reason.DIGEST_MISMATCH,
    ),
    "the pin is no longer served": (
        lambda: case(sight(upstream=offered(TWO)), pin=ONE),
        BLOCKED,
        Reason.UPSTREAM_GONE,
    ),
    "no such model": (lambda: case(sight(upstream=gone())), BLOCKED, OllamaReason.NOT_FOUND),
    "no daemon answers": (lambda: case(sight(origin="nothing")), BLOCKED, OllamaReason.UNREACHABLE),
    "the network is not to be used": (lambda: case(sight(offline=True)), BLOCKED, Reason.OFFLINE),
    "it is gone, and the registry has it": (
        lambda: case(sight(upstream=offered()), recorded()),
        Action.REPAIR,
        Reason.FILE_MISSING,
    ),
    "it is gone, and its tag has moved": (
        lambda: case(sight(upstream=offered(TWO)), recorded()),
        Action.INSTALL,
        Reason.FILE_MISSING,
    ),
    "it is gone, its tag has moved, and it is locked": (
        lambda: case(sight(upstream=offered(TWO)), recorded(), **locked()),
        BLOCKED,
        Reason.UPSTREAM_GONE,
    ),
    "it is gone, and its pin is no longer served": (
        lambda: case(sight(upstream=offered(TWO)), recorded(), pin=ONE),
        BLOCKED,
        Reason.UPSTREAM_GONE,
    ),
    "it is gone, and no daemon answers": (
        lambda: case(sight(origin="store"), recorded()),
        BLOCKED,
        OllamaReason.UNREACHABLE,
    ),
    "blobs are missing": (
        lambda: case(sight(installed(complete=False), upstream=offered()), recorded()),
        Action.REPAIR,
        Reason.FILE_MISSING,
    ),
    "blobs are missing, and its tag has moved": (
        lambda: case(sight(installed(complete=False), upstream=offered(TWO)), recorded()),
        Action.UPDATE,
        Reason.FILE_MISSING,
    ),
    "blobs were found damaged": (
        lambda: case(sight(installed(), upstream=offered(), bad=BAD), recorded()),
        Action.REPAIR,
        Reason.DIGEST_MISMATCH,
    ),
    "blobs were found damaged that another model has too": (
        lambda: case(sight(installed(), installed(name="made:latest"), upstream=offered(), bad=BAD), recorded()),
        Action.REPAIR,
        Reason.DIGEST_MISMATCH,
    ),
    "blobs were found damaged, and its tag has moved": (
        lambda: case(sight(installed(), upstream=offered(TWO), bad=BAD), recorded()),
        Action.REPAIR,
        Reason.DIGEST_MISMATCH,
    ),
    "blobs were found damaged in a store that is not ours to write": (
        lambda: case(sight(installed(), upstream=offered(), bad=BAD, replaceable=False), recorded()),
        BLOCKED,
        Reason.DIGEST_MISMATCH,
    ),
    "blobs were found damaged of a model that was there before us": (
        lambda: case(sight(installed(), upstream=offered(), bad=BAD), recorded(acquisition="adopted")),
        BLOCKED,
        Reason.DIGEST_MISMATCH,
    ),
    "blobs were found damaged of a model that is loaded": (
        lambda: case(sight(installed(), upstream=offered(), bad=BAD, in_use=True), recorded()),
        BLOCKED,
        OllamaReason.IN_USE,
    ),
    "blobs were found damaged, and no network may be used": (
        lambda: case(sight(installed(), bad=BAD, offline=True), recorded()),
        BLOCKED,
        Reason.OFFLINE,
    ),
    "blobs were found damaged that this host has elsewhere, and no network may be used": (
        lambda: case(
            sight(installed(), bad=BAD, offline=True, reuse=dict.fromkeys(BAD, Path("/elsewhere"))), recorded()
        ),
        Action.REPAIR,
        Reason.DIGEST_MISMATCH,
    ),
    "blobs are missing of a model that was there before us, and the registry has the same": (
        lambda: case(sight(installed(complete=False), upstream=offered()), recorded(acquisition="adopted")),
        Action.REPAIR,
        Reason.FILE_MISSING,
    ),
    "blobs are missing of a model that was there before us, and the registry has another": (
        lambda: case(sight(installed(complete=False), upstream=offered(TWO)), recorded(acquisition="adopted")),
        BLOCKED,
        Reason.FILE_MISSING,
    ),
    "blobs are missing of somebody's model that nobody recorded": (
        lambda: case(sight(installed(complete=False), upstream=offered(TWO))),
        BLOCKED,
        Reason.FILE_MISSING,
    ),
    "somebody put a model there that is not whole": (
        lambda: case(sight(installed(TWO, complete=False), upstream=offered()), recorded()),
        BLOCKED,
        Reason.FILE_MISSING,
    ),
    "somebody pulled the tag anew": (
        lambda: case(sight(installed(TWO)), recorded()),
        Action.ADOPT,
        Reason.DIGEST_MISMATCH,
    ),
    "somebody pulled the tag anew, and it is locked": (
        lambda: case(sight(installed(TWO)), recorded(), **locked()),
        BLOCKED,
        Reason.LOCKED,
    ),
    "somebody replaced the pinned one": (
        lambda: case(sight(installed(TWO), upstream=offered()), recorded(), pin=ONE),
        Action.UPDATE,
        Reason.DIGEST_MISMATCH,
    ),
    "somebody replaced the pinned one, and uses it": (
        lambda: case(sight(installed(TWO), upstream=offered(), in_use=True), recorded(), pin=ONE),
        BLOCKED,
        OllamaReason.IN_USE,
    ),
    "another pin": (
        lambda: case(sight(installed(), upstream=offered(TWO)), recorded(), pin=TWO),
        Action.UPDATE,
        Reason.REVISION_CHANGED,
    ),
    "another pin, which somebody pulled already": (
        lambda: case(sight(installed(TWO), upstream=offered(TWO)), recorded(), pin=TWO),
        Action.ADOPT,
        Reason.REVISION_CHANGED,
    ),
    "another pin, and a lock": (
        lambda: case(sight(installed(), upstream=offered(TWO)), recorded(), pin=TWO, **locked()),
        BLOCKED,
        Reason.LOCKED,
    ),
    "locked to other content": (
        lambda: case(sight(installed()), recorded(), **locked("3" * 64)),
        BLOCKED,
        Reason.LOCKED,
    ),
    "another name": (
        lambda: case(sight(installed(name="other:1b"), upstream=offered()), recorded(installed(name="other:1b"))),
        Action.UPDATE,
        Reason.SOURCE_CHANGED,
    ),
    "another name, which is there": (
        lambda: case(sight(installed()), recorded(installed(name="other:1b"))),
        Action.ADOPT,
        Reason.SOURCE_CHANGED,
    ),
    "the same name in other letters": (
        lambda: case(sight(installed()), recorded(), source={"ollama": "Qwen2.5VL:7B"}),
        None,
        None,
    ),
    "another variant name": (
        lambda: case(sight(installed()), recorded(), previous_name="old"),
        Action.MOVE,
        Reason.RENAMED,
    ),
    "this version was too old": (
        lambda: case(sight(upstream=offered()), stalled()),
        BLOCKED,
        OllamaReason.NEEDS_NEWER,
    ),
    "an earlier version was too old": (
        lambda: case(sight(upstream=offered()), stalled("0.1.0")),
        Action.INSTALL,
        Reason.MISSING,
    ),
    "the pin changed since it was too old": (
        lambda: case(sight(upstream=offered(TWO)), stalled(), pin=TWO),
        Action.INSTALL,
        Reason.MISSING,
    ),
    "declared absent": (
        lambda: case(sight(installed()), recorded(), state="absent"),
        Action.REMOVE,
        Reason.DECLARED_ABSENT,
    ),
    "declared absent, and loaded": (
        lambda: case(sight(installed(), in_use=True), recorded(), state="absent"),
        BLOCKED,
        OllamaReason.IN_USE,
    ),
    "declared absent, and never there": (lambda: case(sight(), state="absent"), None, None),
    "suspended": (lambda: case(sight(), state="suspended"), None, None),
    "recorded with files of a disk": (lambda: case(sight(), entry()), BLOCKED, Reason.SOURCE_CHANGED),
    "recorded in Ollama, declared from a hub": (
        lambda: DeclaredModel(manifest(), entry=recorded()),
        BLOCKED,
        Reason.SOURCE_CHANGED,
    ),
    "made, and nothing is there": (
        lambda: made_case(sight(made=BuildInputs("s", base=installed(name="b:1"), base_name="b:1"))),
        Action.INSTALL,
        Reason.MISSING,
    ),
    "made, and its modelfile cannot be read": (
        lambda: made_case(sight(made=Blocker(Reason.SOURCE_MISSING, "no file"))),
        BLOCKED,
        Reason.SOURCE_MISSING,
    ),
    "made, and no daemon answers": (
        lambda: made_case(sight(origin="store", made=BuildInputs("s"))),
        BLOCKED,
        OllamaReason.UNREACHABLE,
    ),
}


def made_case(look: OllamaFacts, record: Entry | None = None) -> DeclaredModel:
    return case(look, record, source={"ollama": TAG, "modelfile": {"from": "b:1"}})


@pytest.mark.parametrize("what", CASES)
def test_every_action_and_reason_has_its_case(what: str) -> None:
    made, action, reason = CASES[what]
    change = decide(made())
    found = (None, None) if change is None else (change.action, change.reason)
    assert found == (action, reason), change


@pytest.mark.parametrize("what", CASES)
def test_what_is_done_is_told_and_blocked_things_say_why(what: str) -> None:
    change = decide(CASES[what][0]())
    if change is not None:
        assert change.message
        assert "None" not in change.message
        assert change.document()["symbol"] == change.action.symbol


def test_a_model_that_is_as_declared_asks_nobody() -> None:
    settled = [
        case(sight(installed()), recorded()),
        case(sight(installed()), recorded(), pin=ONE),
        case(sight(installed())),
    ]
    assert [needs_registry(one) for one in settled] == [False] * 3
    assert [needs_upstream(one) for one in settled] == [False] * 3


@pytest.mark.parametrize(
    "asking",
    [
        case(sight()),
        case(sight(installed(TWO)), pin=ONE),
        case(sight(installed(TWO)), recorded(), pin=ONE),
        case(sight(installed()), recorded(), pin=TWO),
        case(sight(), recorded()),
        case(sight(installed(), bad=BAD), recorded()),
    ],
)
def test_the_registry_is_asked_where_that_decides_something(asking: DeclaredModel) -> None:
    assert needs_registry(asking)


def test_a_pull_costs_what_no_store_has() -> None:
    weights = offered().layers[0].digest
    plain = decide(case(sight(upstream=offered())))
    held = decide(case(sight(upstream=offered(), here=frozenset({weights}))))
    found = decide(case(sight(upstream=offered(), reuse={weights: Path("/weights/x.gguf")})))
    assert plain is not None
    assert held is not None
    assert found is not None
    assert (plain.bytes_to_fetch, plain.bytes_reused, plain.keep) == (1010, 0, 0)
    assert (held.bytes_to_fetch, held.bytes_reused, held.keep) == (10, 0, 1)
    assert (found.bytes_to_fetch, found.bytes_reused, found.keep) == (10, 1000, 0)
    unknown = decide(case(sight(upstream=silent())))
    assert unknown is not None
    assert (unknown.size_known, unknown.bytes_to_fetch) == (False, 0)


def test_a_pull_that_does_not_fit_is_blocked() -> None:
    look = sight(upstream=offered(), filesystem=FILESYSTEM)
    assert [change.action for change in plan_of(case(look), free=1100).changes] == [Action.INSTALL]
    (change,) = plan_of(case(look), free=1000).changes
    assert (change.action, change.reason) == (BLOCKED, Reason.INSUFFICIENT_SPACE)


REMOVALS: Mapping[str, tuple[OllamaFacts, str, Action, tuple[str, ...]]] = {
    "ours, and as recorded": (sight(installed()), "installed", Action.REMOVE, (TAG,)),
    "adopted": (sight(installed()), "adopted", Action.REMOVE, ()),
    "gone already": (sight(), "installed", Action.REMOVE, ()),
    "changed by somebody": (sight(installed(TWO)), "installed", Action.REMOVE, ()),
    "another model of ours too": (sight(installed(), others=("x",)), "installed", Action.REMOVE, ()),
    "not remembered as ours": (sight(installed(), claimed=False), "installed", Action.REMOVE, ()),
    "loaded": (sight(installed(), in_use=True), "installed", BLOCKED, ()),
    "no daemon": (sight(installed(), origin="store"), "installed", BLOCKED, ()),
    "nothing can be seen": (sight(origin="nothing"), "installed", BLOCKED, ()),
}


@pytest.mark.parametrize("what", REMOVALS)
def test_only_what_is_ours_and_as_recorded_is_removed(what: str) -> None:
    look, acquisition, action, drop = REMOVALS[what]
    change = ollama_removal(recorded(acquisition=acquisition), Reason.UNDECLARED, "why", look)
    assert (change.action, change.drop) == (action, drop)
    assert change.bytes_freed == (1010 if drop else 0)


def test_a_person_who_asks_needs_no_further_proof() -> None:
    look = sight(installed(), claimed=False)
    change = ollama_removal(recorded(acquisition="adopted"), Reason.UNDECLARED, "why", look, asked=True)
    assert change.drop == (TAG,)


def test_what_another_model_has_too_is_not_freed() -> None:
    model = installed()
    copy = replace(model, name="copy:1")
    cousin = replace(installed(TWO, name="cousin:1"), layers=model.layers)
    assert freed_by(model, sight(model)) == 1010
    assert freed_by(model, sight(model, cousin)) == 10
    assert freed_by(model, sight(model, copy)) == 0


@pytest.mark.parametrize(
    ("seen", "exists", "states"),
    [
        (OllamaObservation((installed(),), "api"), True, set()),
        (OllamaObservation((installed(complete=False),), "api"), True, {FileState.MISSING}),
        (OllamaObservation((installed(TWO),), "store"), True, {FileState.DIGEST}),
        (OllamaObservation((), "api"), False, {FileState.MISSING}),
        (OllamaObservation((), "store"), False, {FileState.MISSING}),
    ],
)
def test_how_a_recorded_model_stands(seen: OllamaObservation, exists: bool, states: set[FileState]) -> None:
    found = observation_of(recorded(), seen)
    assert found is not None
    assert (found.exists, set(found.damaged.values())) == (exists, states)


@pytest.mark.parametrize(
    "seen",
    [OllamaObservation(), OllamaObservation((), "store", damaged=((STORE / "manifests/x", "no JSON"),))],
)
def test_what_cannot_be_seen_is_not_called_gone(seen: OllamaObservation) -> None:
    assert observation_of(recorded(), seen) is None


def test_models_are_made_anew_when_the_same_plan_changes_their_base() -> None:
    model = installed(name="b:1")
    look = replace(sight(upstream=offered(TWO)), name="b:1", installed=model, recorded=model)
    base = case(look, recorded(model), source={"ollama": "b:1", "digest": TWO})
    standing = installed("5" * 64, name=TAG)
    extra = {"spec": "s", "base": list(installed().content)}
    made = BuildInputs("s", base=installed(), base_name="b:1", base_follows=frozenset({"m"}))
    upper = made_case(sight(standing, made=made), recorded(standing, made=extra))
    before = [(base, decide(base)), (upper, decide(upper))]
    assert before[1][1] is None
    (_, lower), (_, change) = rebuilt(before)
    assert lower is before[0][1]
    assert change is not None
    assert (change.action, change.reason) == (Action.UPDATE, Reason.BASE_CHANGED)
    assert rebuilt([(upper, None)]) == [(upper, None)]


def test_kept_names_are_models_names_of_their_own() -> None:
    names = {kept_name(name) for name in (TAG, "me/qwen2.5vl:7b", "hf.co/me/qwen2.5vl:7b")}
    assert len(names) == 3
    assert kept_name("Qwen2.5VL:7b") == kept_name(TAG)


@pytest.mark.parametrize(
    ("name", "word"), [("llama-3.2-1b-q4_k_m", "llama-3.2-1b-q4_k_m"), ("a(b)c", "a-b-c"), ("-ü-", "model")]
)
def test_variant_names_become_words_of_ollamas_grammar(name: str, word: str) -> None:
    assert ollama_word(name).strip("-") == word
