"""Prepare the documentation for its site: the pages of ``docs/`` and, made from the program itself, the reference.

What is written below ``build/docs`` is what ``make docs`` builds. Links that lead out of ``docs/`` get the repository's
address, so that the site's own check of links can be strict.
"""

import json
import posixpath
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ruamel.yaml import YAML
from typer.main import get_command

from imageworks.cli.click import Command, Context
from imageworks.cli.command_table import COMMANDS, MAIN_GROUPS, MORE_GROUPS
from imageworks.cli.first_screen import OPTIONS, PROGRAM, aliases_of
from imageworks.cli.group import every_command, examples_of, option_groups, text_of
from imageworks.cli.program import make_application
from imageworks.foundation.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build/docs"
LINK = re.compile(r"(\]\()(?![a-z+]+:|#)([^)#\s]+)")
EXIT_CODES = {
    ExitCode.SUCCESS: "All is done, or there was nothing to do.",
    ExitCode.FAILURE: "Something failed, also one model among many; the message says what to do.",
    ExitCode.CHANGES: "There are changes. Only with `--detailed-exitcode`.",
    ExitCode.UNVERIFIED: "`verify` could call something neither right nor wrong.",
    ExitCode.USAGE: "The command line is wrong.",
    ExitCode.HUNG_UP: "Ended by SIGHUP.",
    ExitCode.INTERRUPTED: "Interrupted, as by Ctrl-C.",
    ExitCode.TERMINATED: "Ended by SIGTERM.",
}


def main(out: Path = OUT) -> None:
    """Write everything anew."""
    shutil.rmtree(out, ignore_errors=True)
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    for source in sorted((ROOT / "docs").rglob("*.md")):
        write(out, source.relative_to(ROOT / "docs").as_posix(), absolute(source, repository))
    shutil.copytree(ROOT / "docs/pictures", out / "pictures")
    write(out, "index.md", home(repository))
    write(out, "decisions.md", "\n".join(decisions()) + "\n")
    write(out, "reference/commands.md", "\n".join(commands()) + "\n")
    write(out, "reference/exit-codes.md", "\n".join(exit_codes()) + "\n")
    for path in sorted((ROOT / "schemas").glob("*.schema.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        write(out, f"reference/{path.name.removesuffix('.schema.json')}.md", "\n".join(schema(document)) + "\n")
    check_navigation(out)


def write(out: Path, name: str, text: str) -> None:
    """Write a page."""
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def absolute(source: Path, repository: str) -> str:
    """Return a page in which links to what is no page of the site lead into the repository."""
    folder = source.parent.relative_to(ROOT).as_posix()

    def target(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[2]))
        if path.startswith("docs/pictures/") or (path.startswith("docs/") and path.endswith(".md")):
            return found[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{found[1]}{repository}/{kind}/main/{path}"

    return LINK.sub(target, source.read_text(encoding="utf-8"))


def home(repository: str) -> str:
    """Return the README as the site's first page."""
    text = absolute(ROOT / "README.md", repository)
    pages = re.compile(re.escape(f"]({repository}/blob/main/docs/") + r"|\]\(docs/(?=[^)]*\.(?:md|webp))")
    return pages.sub("](", text).replace(f"]({repository}/tree/main/docs/decisions)", "](decisions.md)")


def decisions() -> Iterator[str]:
    """Yield the page that lists all decisions, by their headings."""
    yield "# Decisions\n\nWhy it is so: one short page for each decision.\n"
    for path in sorted((ROOT / "docs/decisions").glob("*.md")):
        heading = path.read_text(encoding="utf-8").partition("\n")[0]
        title = re.sub(r"^# (?:\d+\.? )?", "", heading)
        yield f"- {path.name[:4]} [{title}](decisions/{path.name})"


def commands() -> Iterator[str]:
    """Yield the page of all commands: what each does, its arguments and options, its examples."""
    root = Context(get_command(make_application()), info_name=PROGRAM)
    yield "# Commands and their options\n\nMade from the program, as `help COMMAND` says it.\n"
    yield "## Options of the program\n"
    yield from rows(OPTIONS)
    below = list(every_command())
    for group in (*MAIN_GROUPS, *MORE_GROUPS):
        yield f"\n## {group}"
        for row in COMMANDS:
            if row.group == group:
                yield f"\n### {row.name}\n"
                for words, command in below:
                    if words.split()[0] == row.name and not command.hidden:
                        yield from one_command(words, command, root, aliases_of(row) if words == row.name else "")


def one_command(words: str, command: Command, root: Context, aliases: str) -> Iterator[str]:
    """Yield what there is about a command."""
    context = Context(command, info_name=words, parent=root)
    if " " in words:
        yield f"\n#### {words}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{PROGRAM} {words} {usage}\n```\n"
    yield code(text_of(command)) + aliases
    for title, found in option_groups(command, context).items():
        yield f"\n**{title}**\n"
        yield from rows(found)
    if lines := examples_of(command):
        yield "\n**Examples**\n\n```sh"
        yield from lines
        yield "```"


def rows(found: "list[tuple[str, str]] | tuple[tuple[str, str], ...]") -> Iterator[str]:
    """Yield a table of options and their meaning."""
    yield "| option | meaning |\n|---|---|"
    for option, meaning in found:
        yield f"| `{cell(option)}` | {cell(code(meaning))} |"


def code(text: str) -> str:
    """Return a plain text whose characters mean nothing to Markdown, except its own back-ticks."""
    parts = text.split("`")
    return "`".join(part if number % 2 else re.sub(r"([*_<>\[\]])", r"\\\1", part) for number, part in enumerate(parts))


def cell(text: str) -> str:
    """Return a text as the cell of a table takes it."""
    return " ".join(text.split()).replace("|", "\\|")


def exit_codes() -> Iterator[str]:
    """Yield the page of exit codes; one that is not explained is an error here."""
    yield "# Exit codes\n\n| code | meaning |\n|---|---|"
    for one in ExitCode:
        yield f"| {one.value} | {EXIT_CODES[one]} |"


def schema(document: dict[str, object]) -> Iterator[str]:
    """Yield the page of one schema: its fields, an example, and the schema itself."""
    yield f"# {document['title']}\n\n{code(str(document['description']))}\n"
    required = document.get("required")
    names = required if isinstance(required, list) else []
    properties = document.get("properties")
    if isinstance(properties, dict):
        yield "| field | needed | meaning |\n|---|---|---|"
        for name, field in properties.items():
            meaning = code(str(field.get("description", ""))) if isinstance(field, dict) else ""
            yield f"| `{name}` | {'yes' if name in names else ''} | {cell(meaning)} |"
    examples = document.get("examples")
    if isinstance(examples, list):
        for example in examples[:1]:
            yield f"\n## Example\n\n```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```"
    yield f"\n## Schema\n\n```json\n{json.dumps(document, indent=2, ensure_ascii=False)}\n```"


def check_navigation(out: Path) -> None:
    """Refuse pages that the navigation does not name, and names that are no page; a page of its own lists decisions."""
    navigation = YAML(typ="safe", pure=True).load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = set(leaves(navigation))
    pages = {path.relative_to(out).as_posix() for path in out.rglob("*.md")}
    if wrong := named ^ {page for page in pages if PurePosixPath(page).parts[0] != "decisions"}:
        raise SystemExit(f"mkdocs.yml: nav and pages differ: {', '.join(sorted(wrong))}")


def leaves(navigation: object) -> Iterator[str]:
    """Yield the pages that a navigation names."""
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, list):
        for one in navigation:
            yield from leaves(one)
    elif isinstance(navigation, dict):
        for one in navigation.values():
            yield from leaves(one)


if __name__ == "__main__":
    main()
