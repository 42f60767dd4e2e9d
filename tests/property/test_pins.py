"""However messy a manifest is, moving its pin changes the pin and its note, and every other byte stays."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from imageworks.registry.documents.yaml_reader import YamlError, parse_yaml
from imageworks.registry.manifests.edit import EditError, edit_manifest
from imageworks.registry.manifests.pins import Pin, noted_ref, repin

FILE = "models/m.yaml"
NEW = "12e45678" * 5
PIN = Pin(NEW, "main", date(2026, 11, 22))
NOTE = " # main, 2026-11-22"

words = st.text(alphabet="abc äß😀#:'\"-{}[],|>", max_size=12).map(str.strip)
comments = words.map(lambda text: f"# {text}")
spaces = st.sampled_from(["", " ", "   "])
fillers = st.lists(st.one_of(st.just(""), comments, spaces), max_size=3)
quotes = st.sampled_from(["", "'", '"'])
revisions = st.sampled_from(["main", "dev", "v1.0", "a1" * 20])


@st.composite
def manifests(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return a manifest up to its revision, the revision with what follows it on its line, and the rest."""
    indent = " " * draw(st.integers(1, 7))
    quote, quoted = draw(quotes), draw(quotes)
    shown = f"display_name: {quote}it is{quote}"
    fields = draw(st.permutations(["license: mit", shown, "roles:\n- caption  # one\n-   keywords"]))
    behind = draw(st.integers(0, 3))
    above = "\n".join(["schema_version:   1", *draw(fillers), *(f"{field}{draw(spaces)}" for field in fields[:behind])])
    key = draw(st.sampled_from(["revision", '"revision"', "'revision'"]))
    opening = draw(st.sampled_from(["source:", "source: # where from", '"source":']))
    first = f"\n{opening}\n{indent}huggingface: {quoted}a/b{quoted}{draw(spaces)}\n"
    gap = "".join(f"{filler}\n" for filler in draw(fillers))
    value = f"{quote}{draw(revisions)}{quote}"
    tail = draw(st.one_of(spaces, words.map(lambda text: f"  # {text}"), st.just(" # main, 2020-01-01; kept")))
    rest = "".join(f"\n{filler}" for filler in draw(fillers))
    rest += draw(st.sampled_from(["", f"\n{indent}optional: true  # all"]))
    rest += "".join(f"\n{field}" for field in fields[behind:]) + draw(st.sampled_from(["", "\n", "\n\n# end"]))
    return f"{above}{first}{gap}{indent}{key}: ", value + tail, rest


@given(manifests(), st.sampled_from(["\n", "\r\n"]))
def test_every_byte_before_and_behind_the_line_of_the_pin_stays(parts: tuple[str, str, str], line_break: str) -> None:
    before, line, rest = (part.replace("\n", line_break) for part in parts)
    data = f"{before}{line}{rest}".encode()
    assert isinstance(parse_yaml(data, FILE).value, dict)
    changed = repin(FILE, data, PIN).decode()
    assert changed.startswith(before)
    assert changed.endswith(rest)
    pin = changed.removeprefix(before)[: len(changed) - len(before) - len(rest)]
    assert pin[1:41] == NEW
    assert "\n" not in pin
    # A comment that was there is there still, behind our note.
    comment = line.partition("  # ")[2]
    assert pin.endswith(comment)
    assert pin.rstrip().endswith(("; kept", NOTE.strip(), comment.rstrip()))
    assert noted_ref(FILE, changed.encode()) == "main"


@given(manifests(), st.sampled_from(["\n", "\r\n"]))
def test_a_state_comes_as_one_line_more_and_changes_in_its_place(parts: tuple[str, str, str], line_break: str) -> None:
    data = "".join(parts).replace("\n", line_break).encode()
    absent = edit_manifest(FILE, data, {("state",): "absent"})
    assert absent.removeprefix(data).decode().strip() == "state: absent"
    assert edit_manifest(FILE, absent, {("state",): "present"}) == absent.replace(b"state: absent", b"state: present")


@given(manifests())
def test_moving_a_pin_twice_is_moving_it_once(parts: tuple[str, str, str]) -> None:
    once = repin(FILE, "".join(parts).encode(), PIN)
    assert repin(FILE, once, PIN) == once


@given(manifests(), st.sampled_from(["\n", "\r\n"]))
def test_a_first_pin_is_one_line_more(parts: tuple[str, str, str], line_break: str) -> None:
    before, _, rest = (part.replace("\n", line_break) for part in parts)
    bare = before[: before.rfind(line_break)]
    data = f"{bare}{rest}".encode()
    changed = repin(FILE, data, PIN).decode()
    [line] = [line for line in changed.split(line_break) if NEW in line]
    assert changed.replace(line_break + line, "", 1) == data.decode()
    assert line.endswith(NOTE)


@given(st.text(alphabet="sourceh: \n\"'{}[],#ab/-|>1", max_size=60))
def test_no_text_is_changed_into_something_else(text: str) -> None:
    """Whatever else stands in the file, either the pin is there afterwards or the file is refused."""
    data = f"schema_version: 1\nsource:\n  huggingface: a/b\n{text}".encode()
    try:
        changed = repin(FILE, data, PIN)
    except (EditError, YamlError):
        return
    after = parse_yaml(changed, FILE).value
    assert isinstance(after, dict)
    assert after["source"]["revision"] == NEW  # type: ignore[index, call-overload]
