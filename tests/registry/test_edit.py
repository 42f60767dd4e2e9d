"""Changing a manifest by program leaves everything else as people wrote it."""

import pytest

from imageworks.registry.edit import EditError, edit_manifest, without_key

FILE = "models/m.yaml"
COMMIT = "12e45678" * 5
MANIFEST = b"""\
# yaml-language-server: $schema=../.schemas/manifest.schema.json
# Ours.
schema_version: 1
source:
    huggingface: 'a/b'      # the small one
    revision: "main"

format: safetensors   # as it comes
roles:
  - caption  # first
  # the end
"""


def test_only_the_named_values_change() -> None:
    changed = edit_manifest(
        FILE,
        MANIFEST,
        {("source", "revision"): COMMIT, ("roles",): ["caption", "keywords"], ("state",): "absent"},
        comments={("source", "revision"): "main, 2026-11-22"},
    ).decode()
    assert f'revision: "{COMMIT}"' in changed
    assert "# main, 2026-11-22" in changed
    for kept in ("$schema=", "# Ours.", "'a/b'", "# the small one", "# as it comes", "# first", "# the end"):
        assert kept in changed
    assert changed.rstrip().endswith("state: absent")


def test_what_is_so_already_changes_no_byte() -> None:
    assert edit_manifest(FILE, MANIFEST, {("source", "revision"): "main", ("state",): None}) is MANIFEST


def test_a_key_goes_with_its_comment() -> None:
    changed = edit_manifest(FILE, MANIFEST, {("format",): None}).decode()
    assert "safetensors" not in changed
    assert "# Ours." in changed


def test_a_manifest_on_one_line_stays_on_one_line() -> None:
    data = b'{"schema_version": 1, "source": {"huggingface": "a/b"}}'
    changed = edit_manifest(FILE, data, {("source", "branch"): "dev"}, comments={("source", "branch"): "x"})
    assert changed == b'{"schema_version": 1, "source": {"huggingface": "a/b", branch: dev}}\n'


def test_what_would_come_out_as_something_else_is_refused() -> None:
    """ruamel would write this text as the number 12."""
    with pytest.raises(EditError, match="state cannot be changed by a program here"):
        edit_manifest(FILE, b"schema_version: 1\nlicense: +12\n", {("state",): "absent"})


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("state: absent\n# behind it\n", "# behind it\n"),
        ("state: absent # why\n\n# next\nlabels: {a: b} # c\n", "\n# next\nlabels: {a: b} # c\n"),
        ("state: absent", ""),
    ],
)
def test_a_key_goes_without_the_comments_behind_it(lines: str, left: str) -> None:
    above = "schema_version: 1\nsource: {huggingface: a/b} # from there\n"
    assert edit_manifest("models/x.yaml", (above + lines).encode(), {("state",): None}).decode() == above + left


def test_a_key_goes_while_others_change() -> None:
    before = "schema_version: 1\nstate: absent\n# serving\nbackend: vllm # it\n"
    after = edit_manifest("models/x.yaml", before.encode(), {("state",): None, ("backend",): "lmdeploy"})
    assert after.decode() == "schema_version: 1\n# serving\nbackend: lmdeploy # it\n"


@pytest.mark.parametrize("text", ['{"schema_version": 1, "state": "absent"}\n', "schema_version: 1\nlabels: {a: b}\n"])
def test_a_key_without_lines_of_its_own_is_not_cut_out(text: str) -> None:
    assert without_key("models/x.yaml", text.encode(), "state") is None
