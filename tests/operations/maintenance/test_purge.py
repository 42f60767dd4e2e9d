"""Which entries go, as pure functions: laws that hold for every registry, without one."""

from pathlib import Path

import pytest

from imageworks.operations.maintenance.entry_changes import EntryAction, EntryChange, Kept
from imageworks.operations.maintenance.purge import (
    backfill_paths,
    purge_hf,
    purge_imported,
    purge_logical_only,
    reset_discovered,
)
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.manifests.manifest import Manifest, read_manifest

FILES = (ArtifactFile("model.safetensors", 10, "0" * 64),)
ROOT = Path("/data/my weights")


def entry(name: str, *, files: tuple[ArtifactFile, ...] = FILES, **fields: object) -> Entry:
    told = {"backend": "vllm", "download_path": f"{ROOT}/owner/{name}", "managed": False, **fields}
    return Entry(name, {"name": name, **{key: value for key, value in told.items() if value is not None}}, files)


def in_ollama(name: str, served: str, path: str | None = "", **fields: object) -> Entry:
    said = f"ollama://{served}" if path == "" else path
    return entry(name, files=(), backend="ollama", served_model_id=served, download_path=said, **fields)


def manifest(name: str, **fields: object) -> Manifest:
    return read_manifest(f"models/{name}.yaml", fields)


def removed(found: list[EntryChange | Kept]) -> list[str]:
    return [one.name for one in found if isinstance(one, EntryChange) and one.deed is EntryAction.REMOVE]


def kept(found: list[EntryChange | Kept]) -> dict[str, str]:
    return {one.name: one.why for one in found if isinstance(one, Kept)}


ENTRIES = [
    entry("declared"),
    entry("deep"),
    entry("locked", version_lock={"locked": True}),
    entry("managed", managed=True),
    entry("elsewhere", download_path="/data/my weights of old/x", backend="unassigned"),
    entry("logical", download_path=None, files=()),
    in_ollama("of-ollama", "m:7b"),
]


@pytest.mark.parametrize(
    ("backend", "gone"),
    [
        ("all", ["deep", "elsewhere", "logical", "of-ollama"]),
        ("vllm", ["deep", "logical"]),
        ("ollama", ["of-ollama"]),
        ("unassigned", ["elsewhere"]),
        ("nothing", []),
    ],
)
def test_a_reset_takes_what_was_found_for_a_backend(backend: str, gone: list[str]) -> None:
    found = reset_discovered(ENTRIES, ["declared"], backend=backend)
    assert removed(found) == gone
    assert set(kept(found)) <= {"declared", "managed", "locked"}


def test_what_no_manifest_declares_any_more_is_not_called_declared() -> None:
    told = kept(reset_discovered(ENTRIES, ["declared"], backend="all"))
    assert "delete its manifest" in told["declared"]
    assert "no manifest declares it any more; `reconcile --prune` removes it" in told["managed"]


@pytest.mark.parametrize(
    ("root", "backend", "gone"),
    [
        (ROOT, None, ["deep"]),
        (ROOT, "all", ["deep"]),
        (ROOT, "unassigned", []),
        (Path("/data"), None, ["deep", "elsewhere"]),
        (Path("/data"), "unassigned", ["elsewhere"]),
        (Path("/data/my"), None, []),
    ],
)
def test_a_purge_takes_what_stands_below_a_folder(root: Path, backend: str | None, gone: list[str]) -> None:
    assert removed(purge_hf(ENTRIES, ["declared"], root=root, backend=backend)) == gone


@pytest.mark.parametrize(
    ("providers", "gone"),
    [
        (("hf",), ["deep", "elsewhere", "logical"]),
        (("ollama",), ["of-ollama"]),
        (("hf", "ollama"), ["deep", "elsewhere", "logical", "of-ollama"]),
        ((), []),
    ],
)
def test_what_was_imported_goes_by_where_it_came_from(providers: tuple[str, ...], gone: list[str]) -> None:
    assert removed(purge_imported(ENTRIES, ["declared"], providers=providers)) == gone


def logical(entries: list[Entry], manifests: list[Manifest], *, curated: bool = False) -> list[EntryChange | Kept]:
    return purge_logical_only(
        {one.name: one for one in entries},
        {one.name: one for one in manifests},
        curated=curated,
        installed=lambda name: None if name.startswith("unknown") else name == "there:7b",
        elsewhere=lambda name: ("another-host",) if name == "shared" else (),
    )


def test_logical_is_what_has_no_path_or_only_a_name_in_ollama() -> None:
    entries = [
        entry("files"),
        entry("gone-from-disk", files=()),
        entry("no-path", download_path=None, files=()),
        in_ollama("named", "away:7b"),
        in_ollama("backfilled", "away:8b", "/home/me/.ollama/models/away:8b"),
        in_ollama("there", "there:7b"),
        in_ollama("was-there", "unknown:7b", conditions=[{"type": "Ready", "status": "True"}]),
        in_ollama("never-seen", "unknown:8b"),
        entry("blobs", backend="ollama", source_provider="ollama", served_model_id="away:9b"),
    ]
    assert removed(logical(entries, [])) == ["backfilled", "named", "never-seen", "no-path"]


def test_what_people_declare_goes_only_when_asked_for_and_without_a_source() -> None:
    entries = [
        entry("entry-too", managed=True, download_path=None, files=()),
        entry("broken", managed=True, download_path=None, files=()),
        entry("has-files", managed=True),
        entry("to-come", managed=True, download_path=None, files=()),
    ]
    source = {"huggingface": "acme/tiny"}
    manifests = [
        manifest("entry-too", roles=["caption"]),
        manifest("has-files"),
        manifest("only-roles", roles=["caption"]),
        manifest("shared"),
        manifest("to-come", source=source),
        manifest("never-came", source=source),
    ]
    assert removed(logical(entries, manifests)) == []
    found = logical(entries, manifests, curated=True)
    assert removed(found) == ["entry-too", "only-roles"]
    edits = {one.name: one.manifest for one in found if isinstance(one, EntryChange)}
    assert all(edit is not None and edit.becomes is None for edit in edits.values())
    assert "another-host" in kept(found)["shared"]
    assert {"broken", "to-come"} <= set(kept(found))


@pytest.mark.parametrize(
    ("served", "store", "path"),
    [
        ("qwen:7b", Path("/o/models"), "/o/models/qwen:7b"),
        ("hf.co/a/b:Q4_K_M", Path("/o/models"), "/o/models/hf.co/a/b:Q4_K_M"),
        ("qwen:7b", None, "ollama://qwen:7b"),
        ("../../etc", Path("/o/models"), "ollama://../../etc"),
        ("/etc", Path("/o/models"), "ollama:///etc"),
        ("a//b", Path("/o/models"), "ollama://a//b"),
    ],
)
def test_a_path_is_filled_in_and_never_leads_out_of_the_store(served: str, store: Path | None, path: str) -> None:
    old = in_ollama("one", served, None)
    (change,) = backfill_paths([old], "ollama", store=store, location="linux_wsl", set_format=True)
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    filled = {key: value for key, value in change.entry.fields.items() if key not in old.fields}
    assert filled == {"download_path": path, "download_format": "gguf", "download_location": "linux_wsl"}


def test_what_is_said_already_stays() -> None:
    entries = [
        in_ollama("a", "a:7b", None, download_format="safetensors", download_location="mine"),
        in_ollama("b", "b:7b", None),
        in_ollama("c", "c:7b", "/somewhere"),
        in_ollama("d", "", None),
        entry("e", download_path=None),
    ]
    found = backfill_paths(entries, "ollama", store=None, location="here", set_format=False)
    changes = {one.name: one.differences for one in found if isinstance(one, EntryChange)}
    assert changes == {
        "a": ("download_path:none→ollama://a:7b",),
        "b": ("download_path:none→ollama://b:7b", "download_location:none→here"),
    }
    assert set(kept(found)) == {"c", "d"}
    after = [one.entry for one in found if isinstance(one, EntryChange) and one.entry]
    again = backfill_paths(after, "ollama", store=None, location="here", set_format=False)
    assert all(isinstance(one, Kept) for one in again)
