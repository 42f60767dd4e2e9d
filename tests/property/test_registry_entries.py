"""Laws of the registry's entries as Python values: reading loses nothing that may be written, and invents nothing."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from imageworks.model_loader.entries import as_fields, changes_of, read_registry_entry
from imageworks.registry.entries.entry import render_entry

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
texts = st.lists(words, max_size=3, unique=True)
models = st.fixed_dictionaries(
    {"name": words},
    optional={
        "backend": st.sampled_from(["vllm", "ollama", "unassigned"]),
        "backend_config": st.fixed_dictionaries(
            {}, optional={"model_path": words, "port": st.integers(1, 65535), "extra_args": texts}
        ),
        "display_name": words,
        "roles": texts,
        "role_priority": st.dictionaries(words, st.integers(1, 9), max_size=2),
        "capabilities": st.dictionaries(words, st.booleans(), max_size=2),
        "model_aliases": texts,
        "deprecated": st.booleans(),
        "version_lock": st.fixed_dictionaries({"locked": st.booleans()}),
        "artifacts": st.fixed_dictionaries(
            {
                "files": st.lists(
                    st.fixed_dictionaries({"path": words, "size": st.integers(0), "sha256": words}), max_size=2
                )
            }
        ),
        "download_size_bytes": st.integers(0),
        "metadata": st.dictionaries(words, words, max_size=2),
    },
)


@given(models)
def test_what_was_read_is_unchanged_and_reads_the_same_again(fields: dict[str, object]) -> None:
    entry = read_registry_entry(fields)
    assert changes_of(entry) == {}
    assert read_registry_entry(as_fields(entry)) == entry


@given(models, words)
def test_a_change_is_exactly_what_differs(fields: dict[str, object], name: str) -> None:
    entry = read_registry_entry(fields)
    changes = changes_of(replace(entry, display_name=name, roles=()))
    assert changes.get("display_name", entry.display_name) == name
    assert set(changes) <= {"display_name", "roles"}
    assert ("roles" in changes) == bool(entry.roles)


@given(models)
def test_writing_the_changes_of_a_new_entry_gives_it_back(fields: dict[str, object]) -> None:
    entry = replace(read_registry_entry(fields), fields={})
    written = {key: value for key, value in changes_of(entry).items() if value is not None}
    assert read_registry_entry(written) == entry


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), values))
def test_an_entry_is_written_as_the_standard_library_writes_it(fields: dict[str, object]) -> None:
    assert render_entry(fields).decode() == json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
