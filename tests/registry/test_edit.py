"""Changing a manifest by program leaves everything else as people wrote it."""

import pytest

from imageworks.registry.edit import EditError, edit_manifest

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
