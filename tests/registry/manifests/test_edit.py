"""Changing a manifest by program leaves everything else as people wrote it."""

import pytest

from imageworks.registry.documents.document import JsonValue
from imageworks.registry.documents.yaml_edit import respelt
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.manifests.edit import EditError, edit_manifest, without_key

FILE = "models/m.yaml"
COMMIT = "12e45678" * 5
MESSY = """\
# Ours.
schema_version:   1
"source"  :   # where from
     'huggingface' : 'a/b'      # the small one
     revision  :  'main'   # ours

format: 'safetensors'    # as it comes
roles:
   -  caption  # first
   # the end
version_lock:
    locked  : false
# end"""
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


def test_the_values_that_change_are_the_only_bytes_that_do() -> None:
    changes: dict[tuple[str, ...], JsonValue] = {
        ("source", "revision"): COMMIT,
        ("source", "branch"): "main",
        ("format",): "gguf",
        ("roles",): ["caption", "keywords"],
        ("version_lock", "locked"): True,
        ("hosts",): ["box", "rack-2"],
        ("state",): "absent",
    }
    messy = MESSY.replace("# first\n", "# first  \n").replace("\n", "\r\n")
    wanted = (
        messy.replace("  :  'main'   # ours", f"  :  '{COMMIT}'   # main, 2026-11-22; ours\r\n     branch: main")
        .replace("'safetensors'  ", "'gguf'  ")
        .replace("   -  caption  # first  ", "   -  caption  # first  \r\n   -  keywords")
        .replace("locked  : false", "locked  : true")
    )
    comments: dict[tuple[str, ...], str] = {("source", "revision"): "main, 2026-11-22"}
    changed = edit_manifest(FILE, messy.encode(), changes, comments=comments).decode()
    assert changed == f'{wanted}\r\nhosts: [box, "rack-2"]\r\nstate: absent'
    again = edit_manifest(FILE, changed.encode(), {("state",): "present"}).decode()
    assert again == changed.replace("absent", "present")


@pytest.mark.parametrize(
    ("before", "keys", "value", "after"),
    [
        ("{schema_version: 1, roles: [a,b , ], } # x\n", ("roles",), ["a", "b", "c"], None),
        (
            "{schema_version: 1,\n  roles: [a] } # x\n",
            ("roles",),
            ["a", "b"],
            "{schema_version: 1,\n  roles: [a, b] } # x\n",
        ),
        ('{"schema_version": 1}', ("state",), "absent", '{"schema_version": 1, "state": "absent"}'),
        ('{"schema_version": 1}', ("hosts",), ["a"], '{"schema_version": 1, "hosts": ["a"]}'),
        ("schema_version: 1 # no end", ("state",), "absent", "schema_version: 1 # no end\nstate: absent"),
        (
            "schema_version: 1\nbackend:\n  vllm  # x\n",
            ("backend",),
            "gguf",
            "schema_version: 1\nbackend:\n  gguf  # x\n",
        ),
        ("schema_version: 1\nlicense: 'mit'\n", ("license",), "it's", "schema_version: 1\nlicense: 'it''s'\n"),
        ("schema_version: 1\nlicense: mit\n", ("license",), "yes", 'schema_version: 1\nlicense: "yes"\n'),
    ],
)
def test_whatever_it_is_written_like(before: str, keys: tuple[str, ...], value: JsonValue, after: str | None) -> None:
    changed = edit_manifest(FILE, before.encode(), {keys: value})
    said = parse_yaml(changed, FILE).value
    assert isinstance(said, dict)
    assert said[keys[0]] == value
    assert after is None or changed.decode() == after


def test_what_is_so_already_changes_no_byte() -> None:
    assert edit_manifest(FILE, MANIFEST, {("source", "revision"): "main", ("state",): None}) is MANIFEST


def test_a_key_goes_with_its_comment() -> None:
    changed = edit_manifest(FILE, MANIFEST, {("format",): None}).decode()
    assert "safetensors" not in changed
    assert "# Ours." in changed


def test_a_manifest_on_one_line_stays_on_one_line() -> None:
    data = b'{"schema_version": 1, "source": {"huggingface": "a/b"}}'
    changed = edit_manifest(FILE, data, {("source", "branch"): "dev"}, comments={("source", "branch"): "x"})
    assert changed == b'{"schema_version": 1, "source": {"huggingface": "a/b", "branch": "dev"}}'


def test_what_no_place_is_found_for_is_refused() -> None:
    with pytest.raises(EditError, match="state cannot be changed by a program here"):
        edit_manifest(FILE, b"? schema_version\n: 1\n? state\n: present\n", {("state",): None})


HOSTS = """\
schema_version: 1
hosts: # ours
  rack: {labels: {a: b}}

  box:
    labels: {gpu: x} # fast
    # old

# end
"""


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("license: +12\nstate: >\n  present\n", {("state",): "absent"}, "license: +12\nstate: absent\n"),
        ("hosts:\n  - a # one\n  - b\n# end\n", {("hosts",): ["b"]}, "hosts: [b]\n# end\n"),
        ("hosts: # ours\n- a\n- b\nstate: present\n", {("hosts",): ["b"]}, "hosts: [b] # ours\nstate: present\n"),
        ("hosts: [a, b] # ours\n", {("hosts",): ["b"]}, "hosts: [b] # ours\n"),
        ("hosts:\n- a\n- b\nstate: present\n", {("hosts",): None}, "state: present\n"),
        ("state:\nlicense: mit\n", {("state",): "absent"}, "state: absent\nlicense: mit\n"),
        ("license: mit\n", {("version_lock", "locked"): True}, "license: mit\nversion_lock:\n  locked: true\n"),
        (
            "license: mit\n",
            {("version_lock", "locked"): True, ("version_lock", "expected"): "1f"},
            'license: mit\nversion_lock:\n  locked: true\n  expected: "1f"\n',
        ),
        ("ranks: {a: 1, b: 2} # x\n", {("ranks",): {"b": 3, "c": 4}}, "ranks: {b: 3, c: 4} # x\n"),
        ("ranks:\n  a: 1 # x\n  b: 2\n", {("ranks",): {"a": 1, "c": 4}}, "ranks:\n  a: 1 # x\n  c: 4\n"),
        ("ranks: {}\n", {("ranks",): {"a": 1}}, "ranks: {a: 1}\n"),
        ("license: mit\n", {("ranks",): {"a": 1}}, "license: mit\nranks:\n  a: 1\n"),
        ("ranks: {a: 1}\n", {("ranks", "a"): None}, "ranks: {}\n"),
        ("ranks: {a: 1, b: 2}\n", {("ranks", "b"): None}, "ranks: {a: 1}\n"),
        (
            "ranks: # of roles\n  a: 1\n  # end\nstate: present\n",
            {("ranks", "a"): None},
            "ranks: {} # of roles\n  # end\nstate: present\n",
        ),
        ("{hosts: [a, b], state: present}", {("hosts",): ["b"]}, "{hosts: [b], state: present}"),
        ("source: {include: [a], path: x}\n", {("source", "include"): ["b"]}, "source: {include: [b], path: x}\n"),
        (
            "source:\n  url: x\n  files:\n  - path: a\n    url: b\nstate: present\n",
            {("source", "revision"): "main"},
            "source:\n  url: x\n  files:\n  - path: a\n    url: b\n  revision: main\nstate: present\n",
        ),
    ],
)
def test_whatever_changes_nothing_else_does(before: str, changes: dict[tuple[str, ...], JsonValue], after: str) -> None:
    for line_break in ("\n", "\r\n"):
        changed = edit_manifest(FILE, before.replace("\n", line_break).encode(), changes)
        assert changed.decode() == after.replace("\n", line_break)


def test_a_host_goes_with_its_lines() -> None:
    changed = edit_manifest(FILE, HOSTS.encode(), {("hosts", "box"): None}).decode()
    assert changed == "schema_version: 1\nhosts: # ours\n  rack: {labels: {a: b}}\n\n\n# end\n"
    last = edit_manifest(FILE, changed.encode(), {("hosts", "rack"): None})
    assert parse_yaml(last, FILE).value == {"schema_version": 1, "hosts": {}}
    assert b"# ours" in last
    assert last.endswith(b"# end\n")


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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[caption, keywords]", "[caption, description, keywords]"),
        ("['caption', x]", "[caption, description, keywords]"),
        ("[caption, 'description']", "[caption, 'description', 'keywords']"),
    ],
)
def test_a_list_gets_an_item_where_it_belongs(before: str, after: str) -> None:
    changed = edit_manifest(
        "m.yaml", f"roles: {before} # whose\n".encode(), {("roles",): ["caption", "description", "keywords"]}
    )
    assert changed.decode() == f"roles: {after} # whose\n"


def test_another_spelling_stays_a_text_in_its_quotes() -> None:
    data = b"hosts: [box, 'rack'] # ours\n"
    assert respelt(FILE, data, ("hosts", 0), "true") == b"hosts: [\"true\", 'rack'] # ours\n"
    assert respelt(FILE, data, ("hosts", 1), "shelf") == b"hosts: [box, 'shelf'] # ours\n"
    assert respelt(FILE, data, ("hosts",), "places", key=True) == b"places: [box, 'rack'] # ours\n"
