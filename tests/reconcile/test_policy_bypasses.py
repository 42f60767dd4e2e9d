"""Ways around each policy, by the command line: what a manifest, a publisher or a request may try (issue 12.4).

Each attempt is refused with the name of its policy, and nothing comes. A policy of the schema without an attempt
fails the last test.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from typing import Any, Final

import pytest

from imageworks.registry.documents.schema import load_schema
from support.git import git
from support.ollama_world import OllamaWorld
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content

Attempt = Callable[[World], None]
ATTEMPTS: Final[list[tuple[str, str, Attempt]]] = []
COMMIT = "a" * 40


def attempt(policy: str) -> Callable[[Attempt], Attempt]:
    def added(function: Attempt) -> Attempt:
        ATTEMPTS.append((policy, function.__name__, function))
        return function

    return added


def strict(world: World, **policies: object) -> None:
    world.configure(policies=policies)


def card(license_: str) -> dict[str, bytes]:
    return {**MODEL, "README.md": f"---\n{license_}\n---\n# Tiny\n".encode()}


# --- licences -----------------------------------------------------------------------------------------------------


@attempt("denied_licenses")
def the_manifest_writes_the_denied_licence_in_other_words(world: World) -> None:
    strict(world, denied_licenses=["cc-by-nc-4.0"])
    world.serve(card("license: cc-by-nc-4.0"))
    world.declare(license="CC BY-NC 4.0")


@attempt("denied_licenses")
def the_publisher_hides_it_behind_another(world: World) -> None:
    strict(world, denied_licenses=["cc-by-nc-4.0"])
    world.serve(card("license: [mit, cc-by-nc-4.0]"))
    world.declare(license="mit")


@attempt("denied_licenses")
def the_licence_is_given_a_suffix(world: World) -> None:
    strict(world, denied_licenses=["gpl-3.0"])
    world.serve(card("license: GPL-3.0-or-later"))
    world.declare()


@attempt("denied_licenses")
def it_has_a_name_of_its_own(world: World) -> None:
    strict(world, denied_licenses=["llama3.1"])
    world.serve(card("license: other\nlicense_name: Llama 3.1\nlicense_link: LICENSE"))
    world.declare(license="apache-2.0")


@attempt("allowed_licenses")
def nobody_says_a_licence(world: World) -> None:
    strict(world, allowed_licenses=["mit"])
    world.serve()
    world.declare(license=None)


@attempt("allowed_licenses")
def an_expression_asks_for_more(world: World) -> None:
    strict(world, allowed_licenses=["mit"])
    world.serve(card("license: MIT AND Proprietary"))
    world.declare(license="mit")


@attempt("allowed_licenses")
def the_source_says_other(world: World) -> None:
    strict(world, allowed_licenses=["mit"])
    world.serve(card("license: other"))
    world.declare()


@attempt("allowed_licenses")
def a_folder_has_no_hub_that_says_one(world: World) -> None:
    strict(world, allowed_licenses=["mit"])
    given(world)


def given(world: World, files: dict[str, bytes] | None = None) -> None:
    folder = world.weights / "given"
    folder.mkdir(parents=True)
    for name, data in {**MODEL, **(files or {})}.items():
        (folder / name).write_bytes(data)
    world.declare(source={"path": str(folder)})


# --- pins ---------------------------------------------------------------------------------------------------------


def unpinned(source: dict[str, Any], *others: dict[str, Any]) -> Attempt:
    def tried(world: World) -> None:
        strict(world, require_pins=True)
        for number, other in enumerate(others):
            world.write(f"models/other-{number}.yaml", json.dumps({"schema_version": 1, **other}))
        world.declare(source=source)

    return tried


_MADE: Final[dict[str, Any]] = {"ollama": "acme/made", "modelfile": {"from": "acme/base"}}
_BASE: Final[dict[str, Any]] = {"source": {"ollama": "acme/base", "digest": "b" * 64}}
_UNPINNED: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "a_short_commit": ({"huggingface": REPO, "revision": COMMIT[:39]},),
    "a_commit_in_capitals": ({"huggingface": REPO, "revision": COMMIT.upper()},),
    "a_branch_that_begins_like_one": ({"huggingface": REPO, "revision": COMMIT + "a"},),
    "a_tag": ({"huggingface": REPO, "revision": "v1"},),
    "nothing_said": ({"huggingface": REPO},),
    "a_tag_of_ollamas": ({"ollama": "hf.co/acme/it:Q4_K_M"},),
    "a_base": (_MADE,),
    "a_base_that_is_not_looked_after": (_MADE, {**_BASE, "state": "suspended"}),
    "a_base_that_is_not_wanted": (_MADE, {**_BASE, "state": "absent"}),
    "a_base_of_another_tag": (_MADE, {"source": {"ollama": "acme/base:other", "digest": "b" * 64}}),
}
ATTEMPTS.extend(("require_pins", name, unpinned(*sources)) for name, sources in _UNPINNED.items())


# --- pickles and code ---------------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("ran",))


def brought(policy: str, files: dict[str, bytes], *, everything: bool = True) -> tuple[Attempt, Attempt]:
    """Return attempts by a hub and by a local folder."""

    def by_hub(world: World) -> None:
        strict(world, **{policy: True})
        world.serve({**MODEL, **files})
        source = {"huggingface": REPO, **({"include": ["*"]} if everything else {})}
        world.declare(source=source)

    def by_folder(world: World) -> None:
        strict(world, **{policy: True})
        given(world, {name: data for name, data in files.items() if "/" not in name} or {"x.py": b"import os\n"})

    return by_hub, by_folder


_PADDED = b"(X" + (40_000).to_bytes(4, "little") + bytes(40_000) + b"0cos\nsystem\n(S'true'\ntR."
_BIG_CONFIG = b'{"auto_map": {"AutoModel": "evil/x--m.X"}, "pad": "' + b"x" * (33 << 20) + b'"}'
for _policy, _kinds in {
    "forbid_pickle": {
        "under_another_name": {"weights.dat": pickle.dumps(Bomb())},
        "as_safetensors": {"extra.safetensors": pickle.dumps(Bomb())},
        "behind_padding": {"extra.safetensors": _PADDED},
        "in_capitals": {"MODEL.PT": pickle.dumps(Bomb())},
        "as_a_keras_layer": {"model.keras": b"PK\x03\x04" + bytes(100)},
    },
    "forbid_remote_code": {
        "a_module": {"modeling.py": b"import os\n"},
        "a_module_in_capitals": {"MODELING.PY": b"import os\n"},
        "another_repositorys_module": {"config.json": b'{"auto_map": {"AutoModel": "evil/repo--modeling.X"}}'},
        "in_a_part": {"config.json": b'{"text_config": {"auto_map": {"AutoModel": "evil/x--m.X"}}}'},
        "in_the_tokenizer": {"tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["evil/x--t.X", null]}}'},
        "as_a_pipeline": {"config.json": b'{"custom_pipelines": {"x": {"impl": "evil/x--p.P", "pt": []}}}'},
        "in_a_list_of_modules": {"modules.json": b'[{"idx": 0, "path": "", "type": "custom_st.Transformer"}]'},
        "in_what_is_no_json": {"config.json": b'{"auto_map": '},
        "a_program_as_weights": {"extra.safetensors": b"\x7fELF\x02\x01\x01" + bytes(100)},
        "a_script_as_weights": {"extra.safetensors": b"#!/bin/sh\ntrue\n"},
    },
}.items():
    for _kind, _files in _kinds.items():
        _hub, _folder = brought(_policy, _files)
        ATTEMPTS.extend([(_policy, f"{_kind} by a hub", _hub), (_policy, f"{_kind} by a folder", _folder)])


@attempt("forbid_remote_code")
def a_configuration_that_is_too_large_to_read(world: World) -> None:
    strict(world, forbid_remote_code=True)
    given(world, {"config.json": _BIG_CONFIG})


@attempt("forbid_remote_code")
def a_part_in_a_folder_of_its_own(world: World) -> None:
    strict(world, forbid_remote_code=True)
    world.serve({**MODEL, "text_encoder/config.json": b'{"auto_map": {"AutoModel": "evil/x--m.X"}}'})
    world.declare(source={"huggingface": REPO, "include": ["*", "*/*"]})


@attempt("forbid_remote_code")
def an_option_of_a_server(world: World) -> None:
    strict(world, forbid_remote_code=True)
    world.serve()
    world.declare(backend="vllm", backend_config={"extra_args": ["--trust_remote_code"]})


@attempt("forbid_pickle")
def a_record_says_that_it_was_here(world: World) -> None:
    """A request may write entries too; what is to be put right by them comes like anything else."""
    world.serve({**MODEL, "extra.pt": pickle.dumps(Bomb())})
    world.declare()
    world.reconcile()
    shutil.rmtree(world.weights / REPO)
    strict(world, forbid_pickle=True)


# --- owners -------------------------------------------------------------------------------------------------------


def of(source: object) -> Attempt:
    def tried(world: World) -> None:
        strict(world, allowed_owners=["acme", "library"])
        world.declare(source=source)

    return tried


ATTEMPTS.extend(
    [
        ("allowed_owners", str(source), of(source))
        for source in (
            {"huggingface": "evil/acme"},
            {"huggingface": "acme-evil/it"},
            {"huggingface": "acme"},
            {"ollama": "evil/acme"},
            {"ollama": "hf.co/evil/acme"},
            {"ollama": "HF.CO/Evil/it"},
            {"ollama": "huggingface.co/evil/it:Q4"},
            {"ollama": "evil.example/acme/it"},
            {"ollama": "evil.example:8443/acme/it"},
            {"ollama": "https://evil.example/acme/it"},
            {"ollama": "evil.example/library/it"},
            {"ollama": "registry.ollama.ai.evil.example/acme/it"},
            {"ollama": "registry.ollama.ai:8443/acme/it"},
            {"ollama": "127.0.0.1:5000/acme/it"},
            {"ollama": "acme/it", "modelfile": {"from": "evil/it"}},
            {"ollama": "acme/it", "modelfile": {"from": "hf.co/evil/it"}},
            {"ollama": "acme/it", "modelfile": {"from": "evil.example/acme/it"}},
        )
    ]
)


# --- sizes, labels, roles -----------------------------------------------------------------------------------------


@attempt("max_model_bytes")
def many_files_that_are_small(world: World) -> None:
    strict(world, max_model_bytes=70_000)
    world.serve({**MODEL, **{f"part-{n}.safetensors": content(str(n), 1000) for n in range(30)}})
    world.declare(source={"huggingface": REPO, "include": ["*"]})


@attempt("max_model_bytes")
def what_is_here_already(world: World) -> None:
    strict(world, max_model_bytes=50_000)
    given(world)


@attempt("max_model_bytes")
def what_is_adopted(world: World) -> None:
    strict(world, max_model_bytes=50_000)
    world.serve()
    folder = world.weights / REPO
    folder.mkdir(parents=True)
    for name, data in MODEL.items():
        (folder / name).write_bytes(data)
    world.declare()


@attempt("max_host_bytes")
def what_is_too_much_in_all(world: World) -> None:
    world.serve()
    world.declare("first")
    world.reconcile()
    strict(world, max_host_bytes=100_000)
    world.serve({**MODEL, "model.safetensors": content("other", 60_000)}, "acme/other")
    world.declare(source={"huggingface": "acme/other"})


def labelled(**fields: object) -> Attempt:
    def tried(world: World) -> None:
        strict(world, required_labels=["team", "tier=production"], required_roles=["caption"])
        world.serve()
        declared: dict[str, Any] = {"labels": {"team": "x", "tier": "production"}, "roles": ["caption"], **fields}
        world.declare(**declared)

    return tried


ATTEMPTS.extend(
    [
        ("required_labels", "none", labelled(labels={})),
        ("required_labels", "in other letters", labelled(labels={"Team": "x", "tier": "production"})),
        ("required_labels", "of another value", labelled(labels={"team": "x", "tier": "production-not"})),
        ("required_labels", "suspended", labelled(labels={}, state="suspended")),
        ("required_roles", "none", labelled(roles=[])),
        ("required_roles", "in other letters", labelled(roles=["Caption"])),
        ("required_roles", "a priority for it", labelled(roles=["tag"], role_priority={"caption": 1})),
    ]
)


@pytest.mark.parametrize(("policy", "name", "tried"), ATTEMPTS, ids=[f"{p}-{n}" for p, n, _ in ATTEMPTS])
def test_no_way_around_a_policy(world: World, policy: str, name: str, tried: Attempt) -> None:
    del name
    tried(world)
    before = world.entries() if (world.root / "discovered").exists() else []
    validated = command("validate", "--registry", world.root)
    planned = world.reconcile(code=1, valid=False) if validated.code == 0 else validated
    told = planned.out + planned.err
    assert planned.code == 1
    assert f"policies.{policy}" in told
    assert (world.entries() if (world.root / "discovered").exists() else []) == before
    assert not (world.weights / REPO / "extra.pt").exists()


# --- what a request may change of the rules -----------------------------------------------------------------------

DEMANDING = {"forbid_pickle": True, "change_requires": ["policy-change"]}


def review(world: World, base: str, *words: str) -> tuple[int, str]:
    done = command(
        *("reconcile", "--dry-run", "--all-hosts", "--format", "markdown", "--base", base),
        *(*words, "--registry", str(world.root)),
    )
    return done.code, done.out


def drop_the_demand(world: World) -> None:
    world.configure(policies={"forbid_pickle": True})


def move_the_registry(world: World) -> None:
    (world.git_root / "registry").mkdir()
    git(world.git_root, "mv", "registry.yaml", "registry/registry.yaml")
    (world.git_root / "registry/registry.yaml").write_text('{"schema_version": 1}\n', encoding="utf-8")
    world.commit("Move the registry")


def hide_it_behind_a_link(world: World) -> None:
    (world.root / "harmless.txt").write_text('{"schema_version": 1}\n', encoding="utf-8")
    (world.root / "registry.yaml").unlink()
    (world.root / "registry.yaml").symlink_to("harmless.txt")
    world.commit("Link the settings")


def turn_a_switch_off(world: World) -> None:
    world.configure(policies={**DEMANDING, "forbid_pickle": False})


def except_a_model(world: World) -> None:
    one = {"name": NAME, "policy": "forbid_pickle", "reason": "x", "expires": "2999-12-31"}
    world.configure(policies={**DEMANDING, "exceptions": [one]})


@pytest.mark.parametrize(
    "change", [drop_the_demand, move_the_registry, hide_it_behind_a_link, turn_a_switch_off, except_a_model]
)
def test_x11_no_request_loosens_the_rules_without_its_label(world: World, change: Attempt) -> None:
    world.configure(policies=DEMANDING)
    base = world.head()
    change(world)
    code, told = review(world, base)
    assert code == 1, told
    assert "policies.change_requires" in told
    assert review(world, base, "--label", "policy-change-not")[0] == 1


@pytest.mark.parametrize("earlier", [True, False], ids=["another model before", "no model before"])
def test_x11_a_model_that_takes_an_exception_over_is_told_as_loosening(world: World, earlier: bool) -> None:
    one = {"name": NAME, "policy": "forbid_pickle", "reason": "old", "expires": "2999-12-31"}
    world.configure(policies={**DEMANDING, "exceptions": [one]})
    world.serve({**MODEL, "extra.pt": pickle.dumps(Bomb())}, "evil/it")
    if earlier:
        world.serve()
        world.declare()
    base = world.head()
    world.declare(source={"huggingface": "evil/it"})
    code, told = review(world, base)
    assert code == 1, told
    assert f"models/{NAME}.yaml" in told.partition("####")[0]
    assert "forbid_pickle" in told.partition("####")[0]
    assert review(world, base, "--label", "policy-change")[0] == 0
    base = world.head()
    world.declare(source={"huggingface": "evil/it"}, roles=["caption"])
    assert review(world, base)[0] == 0  # what it is made of is as before


def test_x7_a_base_that_is_pinned_and_does_not_come_is_not_pulled_for_what_is_made_of_it(ollama: OllamaWorld) -> None:
    world = ollama.world
    strict(world, require_pins=True)
    ollama.offer(short="base:latest")
    base = ollama.models.name("base:latest")
    ollama.declare("base", short="base:latest", more={"digest": "b" * 64})  # another one than is offered
    ollama.declare("made", short="made:latest", more={"modelfile": {"from": base}})
    world.reconcile(code=1)
    assert world.entries() == []
    assert ollama.names() == []


@pytest.mark.parametrize("there", [False, True])
def test_x8_nothing_is_made_of_a_base_whose_licence_is_denied(ollama: OllamaWorld, there: bool) -> None:
    world = ollama.world
    world.configure(policies={"denied_licenses": ["cc-by-nc-4.0"]})
    base = ollama.models.name("base:latest")
    offered = ollama.offer(short="base:latest")
    if there:
        ollama.daemon.install(base, offered)
    ollama.declare("base", short="base:latest", license="cc-by-nc-4.0")
    ollama.declare("made", short="made:latest", more={"modelfile": {"from": base}}, license="mit")
    said = world.reconcile(code=1, valid=False)
    assert "policies.denied_licenses" in said.out + said.err
    assert not (world.root / "discovered").exists()
    assert len(ollama.names()) == there


def test_x7_the_size_of_a_model_in_ollama_counts(ollama: OllamaWorld) -> None:
    ollama.offer(size=50_000)
    strict(ollama.world, max_model_bytes=40_000)
    ollama.declare()
    assert "policies.max_model_bytes" in ollama.world.reconcile(code=1).out
    assert ollama.names() == []


def test_x7_a_model_that_ollama_has_already_is_held_to_its_size(ollama: OllamaWorld) -> None:
    made = ollama.offer(size=50_000)
    ollama.daemon.install(ollama.name, made)
    strict(ollama.world, max_model_bytes=40_000)
    ollama.declare()
    assert "policies.max_model_bytes" in ollama.world.reconcile(code=1).out
    assert not (ollama.world.root / "discovered").exists()


def test_every_policy_of_the_schema_has_an_attempt() -> None:
    schema = load_schema("registry")
    known: dict[str, Any] = schema["properties"]["policies"]["properties"]  # type: ignore[index,call-overload,assignment]
    of_rules = {"change_requires", "exceptions"}  # which judge requests, above
    assert {policy for policy, _, _ in ATTEMPTS} | of_rules == set(known)
