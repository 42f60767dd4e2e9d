"""The gate: what plain scalars mean, what is refused and where, and that no file is expensive."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.registry.documents.document import Position
from imageworks.registry.documents.yaml_reader import MAX_BYTES, MAX_DEPTH, MAX_EVENTS, YamlError, parse_yaml

SCALARS: list[tuple[str, object]] = [
    # numbers: as JSON writes them, and no others
    ("0", 0), ("12", 12), ("-1", -1), ("-0", 0), ("0.5", 0.5), ("-2.25", -2.25), ("1e3", 1000.0), ("1E+3", 1000.0),
    ("12e-2", 0.12), ("1.0", 1.0), ("9223372036854775807", 2**63 - 1), ("0e1234567", 0.0),
    # truth values and nothing
    ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False),
    ("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None),
    # text: what YAML 1.1 and 1.2 loaders make into something else
    ("NO", "NO"), ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("tRUE", "tRUE"),
    ("012", "012"), ("0777", "0777"), ("08", "08"), ("0x10", "0x10"), ("0o17", "0o17"), ("0b1", "0b1"), ("+1", "+1"),
    ("1_000", "1_000"), ("12:30:00", "12:30:00"), ("190:20:30", "190:20:30"), ("2026-11-20", "2026-11-20"),
    ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), (".inf", ".inf"), ("-.inf", "-.inf"), (".nan", ".nan"),
    (".5", ".5"), ("5.", "5."), ("1e", "1e"), ("--", "--"), ("1.2.3", "1.2.3"), ("nULL", "nULL"),
    ("536a357", "536a357"), ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "Qwen/Qwen2.5-VL-7B-Instruct-AWQ"),
    ("qwen2.5vl:7b", "qwen2.5vl:7b"), ("hf.co/owner/repo:Q4_K_M", "hf.co/owner/repo:Q4_K_M"), ("=", "="),
    # quotes always make text
    ('"12"', "12"), ("'true'", "true"), ('"~"', "~"), ("''", ""), ('"1e3"', "1e3"), ('"a\\tb\\nc"', "a\tb\nc"),
    ("|\n  12\n", "12\n"), (">-\n  true\n", "true"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "value"), SCALARS)
def test_scalars_stay_what_the_author_meant(written: str, value: object) -> None:
    parsed = parse_yaml(f"a: {written}\n".encode(), "f.yaml").value
    assert parsed == {"a": value}
    assert isinstance(parsed, dict)
    assert type(parsed["a"]) is type(value)


REFUSED: list[tuple[str, bytes, str, str]] = [
    # every row of the measured table of hostile inputs, and the rest of what the gate is for
    ("too large", b"# " + b"x" * MAX_BYTES, "1:1", "bytes long"),
    ("list alias bomb", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "1:4", "anchors are not allowed"),
    ("merge bomb", b"a: {x: 1}\nb: {<<: [*a, *a]}\n", "2:5", "merge keys are not allowed"),
    ("deep, 6 KB", b"[" * 3_000, "1:17", "nested deeper"),
    ("deep, 60 KB", b"[" * 30_000, "1:17", "nested deeper"),
    ("deep in blocks", b"".join(b" " * n + b"a:\n" for n in range(200)), "17:17", "nested deeper"),
    ("deep in sequences", b"- " * 200 + b"x", "1:33", "nested deeper"),
    ("duplicate key", b"a: 1\nb: 2\na: 3\n", "3:1", 'duplicate key "a", first given on line 1'),
    ("duplicate key, quoted", b"a: 1\n'a': 3\n", "2:1", "duplicate key"),
    ("python tag", b"a: !!python/object/apply:os.system [x]\n", "1:4", "tags are not allowed"),
    ("local tag", b"a: !x 1\n", "1:4", "tags are not allowed"),
    ("unknown tag handle", b"a: !x!y 1\n", "1:4", "tags are not allowed"),
    ("non-specific tag", b"a: ! 1\n", "1:4", "tags are not allowed"),
    ("tag on a mapping", b"a: !!map {b: 1}\n", "1:4", "tags are not allowed"),
    ("5,000-digit number", b"a: " + b"9" * 5_000, "1:4", "too large"),
    ("too large a number", b"a: 9223372036854775808", "1:4", "too large"),
    ("infinite number", b"a: 1e400", "1:4", "too large"),
    ("a commit id that is a number", b"a: 12e45678", "1:4", "too large"),
    ("many comment lines", b"# comment\n" * 10_000, "1:1", "bytes long"),
    ("surrogate escape", b'a: "\\ud800"', "1:7", "stands for no character"),
    ("tab as separator", b"a:\t1\n", "1:3", "a tab is used"),
    ("tab as indent", b"a:\n\tb: 1\n", "2:1", "a tab is used"),
    ("tab first", b"\ta: 1\n", "1:1", "a tab is used"),
    ("tab before a comment", b"a: 1\t# x\n", "1:5", "a tab is used"),
    ("tab in the indent of a continuation", b"a: x\n  \ty\n", "2:3", "a tab is used"),
    ("tab between items", b"a: [1,\t2]\n", "1:7", "a tab is used"),
    ("version directive", b"%YAML 1.1\n---\na: NO\n", "1:1", "directives are not allowed"),
    ("tag directive", b"%TAG ! x:\n---\na: 1\n", "1:1", "directives are not allowed"),
    ("unknown directive", b"%FOO x\n---\na: 1\n", "1:5", "directives are not allowed"),
    ("future version", b"%YAML 9.9\n---\na: 1\n", "1:1", "directives are not allowed"),
    ("recursive alias", b"a: &a [*a]\n", "1:4", "anchors are not allowed"),
    ("alias", b"a: *b\n", "1:4", "aliases are not allowed"),
    ("bare anchor sign", b"a: &\n", "1:5", "anchors and aliases are not allowed"),
    ("not UTF-8", b"a: \xff\n", "1:4", "not UTF-8"),
    ("latin-1", "a: 1\nb: abc\xe9\n".encode("latin-1"), "2:7", "not UTF-8"),
    ("overlong UTF-8", b"a: \xc0\xaf\n", "1:4", "not UTF-8"),
    ("encoded surrogate", b"a: \xed\xa0\x80\n", "1:4", "not UTF-8"),
    ("UTF-16 with mark", "a: 1\n".encode("utf-16"), "1:1", "byte order mark"),
    ("UTF-16 without mark", "a: 1\n".encode("utf-16-le"), "1:2", "U+0000"),
    ("UTF-8 with mark", b"\xef\xbb\xbfa: 1\n", "1:1", "byte order mark"),
    ("NUL", b"a: \0\n", "1:4", "U+0000"),
    ("ESC", b"a: \x1b[31m\n", "1:4", "U+001B"),
    ("DEL", b"a: \x7f\n", "1:4", "U+007F"),
    ("next line", "a: x\x85b: y\n".encode(), "1:5", "U+0085"),
    ("line separator", "a: x\u2028b: y\n".encode(), "1:5", "U+2028"),
    ("bare carriage return", b"a: 1\rb: 2\n", "1:5", "U+000D"),
    ("bidi override", "a: \u202eabc\n".encode(), "1:4", "U+202E"),
    ("bidi isolate in a comment", "a: 1 # \u2066x\n".encode(), "1:8", "U+2066"),
    ("zero-width space in a key", "ba\u200bckend: vllm\n".encode(), "1:3", "U+200B"),
    ("zero-width joiner", "a: x\u200dy\n".encode(), "1:5", "U+200D"),
    ("byte order mark inside", "a: x\ufeff\n".encode(), "1:5", "U+FEFF"),
    ("tag characters", "a: \U000e0041\n".encode(), "1:4", "U+E0041"),
    ("escaped NUL", b'a: "\\0"\n', "1:4", "an escape for a control"),
    ("escaped ESC", b'a: "\\e[31m"\n', "1:4", "an escape for a control"),
    ("escaped bidi", b'a: "\\u202e"\n', "1:4", "an escape for a control"),
    ("escaped zero width", b'a: "\\u200b"\n', "1:4", "an escape for a control"),
    ("escaped carriage return", b'a: "x\\ry"\n', "1:4", "an escape for a control"),
    ("escaped line separator", b'a: "\\L"\n', "1:4", "an escape for a control"),
    ("escape in a key", b'"a\\u200b": 1\n', "1:1", "an escape for a control"),
    ("two documents", b"a: 1\n---\nb: 2\n", "2:1", "only one document"),
    ("document after an end", b"a: 1\n...\nb: 2\n", "3:1", "only one document"),
    ("text after the value", b"{a: 1}}\n", "1:7", "only one document"),
    ("number as key", b"1: x\n", "1:1", "a key must be text"),
    ("truth as key", b"true: x\n", "1:1", "a key must be text"),
    ("nothing as key", b": x\n", "1:1", "a key was expected"),
    ("tilde as key", b"~: x\n", "1:1", "a key must be text"),
    ("list as key", b"? [a]\n: 1\n", "1:3", "a key must be text"),
    ("mapping as key", b"? {a: 1}\n: 1\n", "1:3", "a key must be text"),
    ("merge key", b"<<: {a: 1}\n", "1:1", "merge keys are not allowed"),
    ("colon in a value", b"a: b: c\n", "1:5", "a second `key: value` starts here"),
    ("no colon", b"a: 1\nbcd\n", "3:1", "a key without a colon"),
    ("wrong indent", b"a:\n   b: 1\n  c: 2\n", "3:3", "a key was expected"),
    ("key after a list", b"- a\nb: 1\n", "2:1", "another `- item`"),
    ("list not closed", b"a: [1, 2\n", "2:1", "not continued or closed"),
    ("mapping not closed", b"a: {b: 2\n", "2:1", "not continued or closed"),
    ("quote not closed", b"a: 'x\n", "2:1", "ends inside a quoted text"),
    ("unknown escape", b'a: "\\q"\n', "1:5", "an unknown escape"),
    ("reserved sign", b"a: @x\n", "1:4", "cannot start with `@`"),
    ("backtick", b"a: `x`\n", "1:4", "cannot start with"),
    ("percent", b"a: %x\n", "1:4", "directives are not allowed"),
    ("bracket alone", b"a: ]\n", "1:4", "a value was expected"),
    ("colon in brackets", b"a: [https://x]\n", "1:10", "a colon inside a text"),
    ("list in a value", b"a: - b\n", "1:4", "a list item cannot start here"),
    ("odd block header", b"a: >x\n  b\n", "1:5", "text stands on the line that opens a block"),
    ("too many events", b"[" + b"1," * (MAX_EVENTS + 1) + b"]", "1:9994", "more than 5000"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "place", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused_with_place_and_remedy(data: bytes, place: str, message: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(data, "models/x.yaml")
    error = caught.value
    assert message in error.problem
    assert f"{error.line}:{error.column}" == place
    assert str(error).startswith(f"models/x.yaml:{place}: ")
    assert error.remedy
    assert "\n" not in error.message
    assert len(error.render()) < 400


ALLOWED: list[tuple[bytes, object]] = [
    (b"", None),
    (b"# nothing but a comment\n", None),
    (b"---\na: 1\n", {"a": 1}),
    (b"a: 1\n...\n", {"a": 1}),
    (b"a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    (b"a: 'x\ty' #\tz\n", {"a": "x\ty"}),
    (b"a: x\ty\n", {"a": "x\ty"}),
    (b"a: |\n  x\ty\n", {"a": "x\ty\n"}),
    (b"# \t comment\na: 1\n", {"a": 1}),
    (b"a: {b, c}\n", {"a": {"b": None, "c": None}}),
    (b"a: [b: 1, 2]\n", {"a": [{"b": 1}, 2]}),
    ("a: abc\xe9 \U0001f600\n".encode(), {"a": "abc\xe9 \U0001f600"}),
    (b"NO: 1\n012: 2\n", {"NO": 1, "012": 2}),
    (b"'1': 1\n", {"1": 1}),
]


@pytest.mark.parametrize(("data", "value"), ALLOWED)
def test_allowed(data: bytes, value: object) -> None:
    assert parse_yaml(data, "f.yaml").value == value


def test_limits_are_where_they_are_said_to_be() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_yaml(deepest, "f").value is not None
    with pytest.raises(YamlError, match="nested deeper"):
        parse_yaml(b"[" + deepest + b"]", "f")
    assert parse_yaml(b"#" * MAX_BYTES, "f").value is None
    with pytest.raises(YamlError, match="bytes long"):
        parse_yaml(b"#" * (MAX_BYTES + 1), "f")


def test_places_of_keys_and_values() -> None:
    document = parse_yaml(b"a:\n  b: [x, 1e3]\n  'c':  true\n", "f.yaml")
    assert document.locate(("a",)) == Position(2, 3)
    assert document.locate(("a", "b"), key=True) == Position(2, 3)
    assert document.locate(("a", "b")) == Position(2, 6)
    assert document.locate(("a", "b", 1)) == Position(2, 10)
    assert document.locate(("a", "c"), key=True) == Position(3, 3)
    assert document.locate(("a", "c")) == Position(3, 9)
    assert document.locate(("a", "nothing", "here")) == Position(2, 3)
    assert document.written(("a", "b", 1)) == "1e3"
    assert document.written(("a", "b", 0)) is None


def test_columns_count_characters() -> None:
    document = parse_yaml("abc\xe9: {\U0001f600: x}\n".encode(), "f.yaml")
    assert document.locate(("abc\xe9", "\U0001f600")) == Position(1, 11)


BOMBS: dict[str, bytes] = {
    "brackets": b"[" * 30_000,
    "braces": b"{a: " * 15_000,
    "brackets on lines": b"[\n" * 30_000,
    "blocks": b"".join(b" " * n + b"a:\n" for n in range(350)),
    "sequences": b"- " * 30_000,
    "complex keys": b"? " * 30_000,
    "list aliases": b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)),
    "merges": b"m0: &m0 {k: 1}\n"
    + b"".join(b"m%d: &m%d {<<: [*m%d, *m%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 26)),
    "one long number": b"a: " + b"9" * 60_000,
    "one long float": b"a: 0." + b"9" * 60_000,
    "one long exponent": b"a: 1e" + b"9" * 60_000,
    "one long key": b"a" * 60_000 + b": 1",
    "one long quote": b"a: '" + b"x" * 60_000,
    "many keys": b"".join(b"k%d: 1\n" % n for n in range(6_000)),
    "many tabs": b"a: '" + b"\t" * 60_000 + b"'",
    "tabs in a comment": b"a: 1 #" + b"\t" * 60_000,
    "tabs on lines": b"#\t\n" * 20_000,
    "colons": b": " * 30_000,
    "commas": b"[" + b"," * 60_000,
    "comments": b"#\n" * 32_000,
    "percent": b"%" * 60_000,
    "exclamation": b"!" * 60_000,
    "quotes": b"''" * 30_000,
    "dashes": b"---\n" * 15_000,
    "dots": b"...\n" * 15_000,
    "11 MB": b"a: 1\n" * 2_300_000,
}

CHILD = """
import sys
from imageworks.registry.documents.yaml_reader import YamlError, parse_yaml
parse_yaml(b"a: 1", "warm")
data = sys.stdin.buffer.read()
try:
    parse_yaml(data, "bomb.yaml")
    print("parsed")
except YamlError as error:
    print("refused", len(error.render()))
"""


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@pytest.mark.parametrize("name", ["brackets", "list aliases", "merges", "11 MB"])
def test_bombs_in_a_process_with_little_time_and_memory(name: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=BOMBS[name],
        capture_output=True,
        preexec_fn=_limit,  # nothing of ours runs threads in this process
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(b"refused ")
    assert int(child.stdout.split()[1]) < 400


def test_all_bombs_together_stay_within_the_limits_of_one_process(tmp_path: Path) -> None:
    for name, data in BOMBS.items():
        (tmp_path / name).write_bytes(data)
    script = (
        "import sys, pathlib\n"
        "from imageworks.registry.documents.yaml_reader import YamlError, parse_yaml\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        parse_yaml(path.read_bytes(), 'b')\n"
        "    except YamlError as error:\n        assert len(error.render()) < 400, path\n"
        "    print(path.name)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=_limit,  # nothing of ours runs threads in this process
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == sorted(BOMBS)
