"""Moving a pin changes the pin and its note, and no other byte of what people wrote."""

from datetime import date

import pytest

from imageworks.registry.manifests.edit import EditError
from imageworks.registry.manifests.pins import Pin, noted_ref, repin

FILE = "models/m.yaml"
OLD, NEW = "a1" * 20, "12e45678" * 5
DAY = date(2026, 11, 22)
MAIN = Pin(NEW, "main", DAY)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'  revision: "{OLD}"      # main, 2026-01-02', f'  revision: "{NEW}"      # main, 2026-11-22'),
        (f"  revision: '{OLD}' # main, 2026-01-02; tried", f"  revision: '{NEW}' # main, 2026-11-22; tried"),
        ("  revision: main", f'  revision: "{NEW}" # main, 2026-11-22'),
        ("  revision: main   ", f'  revision: "{NEW}" # main, 2026-11-22   '),
        ('  "revision" : "main"', f'  "revision" : "{NEW}" # main, 2026-11-22'),
        ("  revision: main  #keep", f'  revision: "{NEW}"  # main, 2026-11-22;keep'),
        (f'  revision: "{OLD}" # 2026-01-02', f'  revision: "{NEW}" # main, 2026-11-22'),
        ("  revision: >-\n    main\n", f'  revision: "{NEW}" # main, 2026-11-22\n'),
        ('  revision:\n    "main"', f'  revision:\n    "{NEW}" # main, 2026-11-22'),
    ],
)
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_a_revision_changes_in_its_place(before: str, after: str, line_break: str) -> None:
    around = "# top\nschema_version: 1\nsource:\n  huggingface: a/b   # it\n{}\n\n\nlicense:    mit  \n# end"
    data = around.format(before).replace("\n", line_break).encode()
    assert repin(FILE, data, MAIN).decode() == around.format(after).replace("\n", line_break)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("source:\n   huggingface: a/b # it\n   # next\n", "source:\n   huggingface: a/b # it\n   {}\n   # next\n"),
        ("source:\n  huggingface: a/b", "source:\n  huggingface: a/b\n  {}"),
        ("source:\r\n  huggingface: a/b", "source:\r\n  huggingface: a/b\r\n  {}"),
        ("source:\n  'huggingface': a/b\nlicense: x\n", "source:\n  'huggingface': a/b\n  {}\nlicense: x\n"),
        ("source: {huggingface: a/b}  # it\n", "source: {huggingface: a/b, {}}  # it\n"),
        (
            'source: { "huggingface":"a/b" , optional: true }\n',
            'source: { "huggingface":"a/b", {} , optional: true }\n',
        ),
        (
            "source:\n  huggingface: |-\n    a/b\n  optional: true\n",
            "source:\n  huggingface: |-\n    a/b\n  {}\n  optional: true\n",
        ),
    ],
)
def test_a_revision_that_is_not_written_yet_follows_the_repository(before: str, after: str) -> None:
    quote = '"' if '"huggingface"' in before else "'" if "'huggingface'" in before else ""
    note = "" if "{" in before else " # main, 2026-11-22"
    expected = after.replace("{}", f'{quote}revision{quote}: "{NEW}"{note}')
    head = "schema_version: 1\n"
    assert repin(FILE, (head + before).encode(), MAIN).decode() == head + expected


def test_the_branch_of_a_first_pin_is_kept_as_a_field_where_the_folder_depends_on_it() -> None:
    data = b"schema_version: 1\r\nsource:\r\n  huggingface: a/b\r\n  revision: dev # mine\r\n  optional: true\r\n"
    changed = repin(FILE, data, Pin(NEW, "dev", DAY, branch=True)).decode()
    assert changed == (
        "schema_version: 1\r\nsource:\r\n  huggingface: a/b\r\n"
        f'  revision: "{NEW}" # dev, 2026-11-22; mine\r\n  branch: "dev"\r\n  optional: true\r\n'
    )
    assert repin(FILE, changed.encode(), Pin(NEW, "dev", DAY, branch=True)).decode() == changed


def test_a_manifest_on_one_line_stays_on_one_line() -> None:
    data = b'{"schema_version": 1, "source": {"huggingface": "a/b", "revision": "dev"}}'
    changed = repin(FILE, data, Pin(NEW, "dev", DAY, branch=True)).decode()
    assert changed == (
        f'{{"schema_version": 1, "source": {{"huggingface": "a/b", "revision": "{NEW}", "branch": "dev"}}}}'
    )
    assert repin(FILE, b'{"schema_version": 1, "source": {"huggingface": "a/b"}}', MAIN).endswith(b'"}}')


@pytest.mark.parametrize(
    ("line", "ref"),
    [
        (f'revision: "{OLD}" # main, 2026-11-20', "main"),
        (f'revision: "{OLD}" # v1.0/x, 2026-11-20; why', "v1.0/x"),
        (f'revision: "{OLD}" # 2026-11-20', None),
        (f'revision: "{OLD}" # the good one', None),
        (f'revision: "{OLD}"', None),
        ("optional: true", None),
    ],
)
def test_the_note_says_what_a_pin_follows(line: str, ref: str | None) -> None:
    assert noted_ref(FILE, f"schema_version: 1\nsource:\n  huggingface: a/b\n  {line}\n".encode()) == ref


def test_what_would_say_something_else_is_refused() -> None:
    data = b"schema_version: 1\nsource:\n  ? huggingface\n  : a/b\n"
    with pytest.raises(EditError, match="cannot be changed by a program here"):
        repin(FILE, data, MAIN)
