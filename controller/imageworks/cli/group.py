"""Commands as all of ours are built: the shared vocabulary on each, help with examples, loaded when one is meant."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from imageworks.cli import first_screen
from imageworks.cli.click import Command, CompletionItem, Context, HelpFormatter, Parameter
from imageworks.cli.command_table import ALIASES, BY_NAME, COMMANDS
from imageworks.cli.options import SHARED
from imageworks.cli.output import OutputStyle, complain, set_style
from imageworks.cli.streams import reader_left
from imageworks.foundation.errors import ExitCode, ImageworksError
from imageworks.foundation.log import show_steps
from imageworks.foundation.similar_words import did_you_mean

EXAMPLES: Final = "Examples:"
SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": first_screen.WIDEST}
COLOURS: Final = ("auto", "always", "never")
Function = TypeVar("Function", bound=Callable[..., Any])


class _Help:
    """Help that is grouped and ends with examples; completion that loads nothing for it."""

    added: list[str]

    def format_help_text(self, _ctx: Context, formatter: HelpFormatter) -> None:
        """Write what the command does, without the examples, which come last."""
        formatter.write_paragraph()
        formatter.write_text(text_of(cast("Command", self)))

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands of a group with their whole sentences, then options by what they are about."""
        commands = getattr(self, "commands", {})
        if rows := [(name, text_of(one).partition("\n")[0]) for name, one in commands.items() if not one.hidden]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
        for title, options in option_groups(cast("Command", self), ctx).items():
            with formatter.section(title):
                formatter.write_dl(options)

    def format_epilog(self, _ctx: Context, formatter: HelpFormatter) -> None:
        """Write the examples."""
        if lines := examples_of(cast("Command", self)):
            with formatter.section(EXAMPLES.removesuffix(":")):
                formatter.write("".join(f"  {line}\n" for line in lines))

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return the parts of the usage line; what is required stands bare, where typer puts it in braces."""
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc] # of typer's class
        return [piece.replace("{", "").replace("}", "") for piece in pieces]

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Return completions without help, for which typer would load all of rich."""
        items: list[CompletionItem] = super().shell_complete(ctx, incomplete)  # type: ignore[misc] # of typer's class
        for item in items:
            item.help = None
        return items

    def apply_shared(self, params: dict[str, Any]) -> None:
        """Let the shared options take effect, and take out those that the command itself does not know."""
        set_style(OutputStyle(quiet=bool(params.get("quiet")), colour=params.get("color")))
        if "verbose" in self.added and params.get("verbose"):
            show_steps(complain)
        for name in self.added:
            params.pop(name, None)


class OurCommand(_Help, TyperCommand):
    """A command with the shared options."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.added = _add_shared(self.params)
        for param in self.params:  # where typer says `<str>` and `<int range>`, which are no words for people
            if param.metavar is None and param.type.name in {"str", "int", "int range"}:
                param.metavar = max(param.opts, key=len).lstrip("-").upper()

    def invoke(self, ctx: Context) -> Any:
        """Run the command with the options of its own."""
        self.apply_shared(ctx.params)
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # which typer would end without a word, with 1
            if reader_left():
                raise typer.Exit from error
            raise ImageworksError("a program that was written to ended before it had read everything") from error


class OurGroup(_Help, TyperGroup):
    """A command that has commands of its own, which the shared options before their name are for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.added = _add_shared(self.params)

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the words; where there are none, show the help, which is no error, though nothing was done."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            complain(ctx.get_help(), ours=True)
            ctx.exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Context) -> Any:
        """Run the command that follows."""
        given = {name: value for name in _SHARED_OPTIONS if (value := ctx.params.get(name))}
        ctx.default_map = dict.fromkeys((*BY_NAME, *self.commands), given)
        self.apply_shared(ctx.params)
        return super().invoke(ctx)


class Commands(typer.Typer):
    """Commands that have the shared options and our help."""

    def __init__(self, text: str | None = None, **settings: Any) -> None:
        settings = {"cls": OurGroup, "no_args_is_help": True, "add_completion": False, **settings}
        if text is not None:
            settings["help"] = text
        super().__init__(
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings=dict(SETTINGS),
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Register a command, as typer does."""
        return super().command(name, **{"cls": OurCommand, **settings})


class CommandLine(OurGroup):
    """All commands, each loaded when somebody means it."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names in the order of the table."""
        return [row.name for row in COMMANDS]

    def get_command(self, ctx: Context, cmd_name: str) -> "Command | None":
        """Return a command, loaded."""
        if cmd_name not in self.commands and cmd_name in BY_NAME:
            self.commands[cmd_name] = load_command(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Context, args: list[str]) -> "tuple[str | None, Command | None, list[str]]":
        """Return the command that is meant, an alias replaced; what nobody means names what comes near."""
        args = [*ALIASES.get(args[0], (args[0],)), *args[1:]]
        if args[0] not in BY_NAME and not ctx.resilient_parsing and not args[0].startswith("-"):
            near = did_you_mean(args[0], (*BY_NAME, *ALIASES))
            ctx.fail(f"no such command: {args[0]!r}. {near or '`--help` lists them.'}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:  # typer's own
        """Write the first screen."""
        formatter.write(first_screen.screen(everything=bool(ctx.params.get("everything")), width=formatter.width))

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Return commands, from the table; also those that help does not list at once."""
        if incomplete.startswith("-"):
            return TyperCommand.shell_complete(cast("TyperCommand", self), ctx, incomplete)
        return [CompletionItem(name) for name in (*BY_NAME, *ALIASES) if name.startswith(incomplete)]


def load_command(name: str) -> Command:
    """Return a command of the table, its module imported."""
    row = BY_NAME[name]
    module, _, attribute = row.place.partition(":")
    found = getattr(import_module(f"imageworks.cli.commands.{module}"), attribute)
    if isinstance(found, typer.Typer):
        made = get_command(found)
        made.name = name
        return made
    app = Commands()
    app.command(name)(found)
    return get_command(app)


def every_command() -> Iterator[tuple[str, Command]]:
    """Yield each command with the words that lead to it, also those of groups; for what walks over all of them."""

    def below(words: str, command: Command) -> Iterator[tuple[str, Command]]:
        yield words, command
        for name, one in getattr(command, "commands", {}).items():
            yield from below(f"{words} {name}", one)

    for row in COMMANDS:
        yield from below(row.name, load_command(row.name))


def _add_shared(params: "list[Parameter]") -> list[str]:
    """Add the shared options that a command does not have; return their names."""
    there = {word for param in params for word in param.opts}
    offered = {name: words for name, (words, _, _) in _SHARED_OPTIONS.items() if name != "yes" or "--dry-run" in there}
    added = [name for name, words in offered.items() if there.isdisjoint(words)]
    for name in added:
        words, text, more = _SHARED_OPTIONS[name]
        params.append(TyperOption(param_decls=[name, *words], help=text, rich_help_panel=SHARED, **more))
    return added


def _checked_colour(_context: Context, _option: Parameter, value: str | None) -> str | None:
    if value is not None and value not in COLOURS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(COLOURS)}.")
    return value


def _colours(incomplete: str) -> list[str]:
    return [one for one in COLOURS if one.startswith(incomplete)]


def examples_of(command: Command) -> list[str]:
    """Return the examples of a command's docstring, a line each."""
    return [line.strip() for line in (command.help or "").partition(EXAMPLES)[2].splitlines() if line.strip()]


def text_of(command: Command) -> str:
    """Return what a command's docstring says before its examples."""
    return (command.help or "").partition(EXAMPLES)[0].strip()


def option_groups(command: Command, ctx: Context) -> dict[str, list[tuple[str, str]]]:
    """Return arguments and options with what they mean, by the heading they stand under, the shared ones last."""
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            default = "Arguments" if param.param_type_name == "argument" else "Options"
            common = param.name in {"help", "as_json", *_SHARED_OPTIONS} and param.name != "yes"
            panel = SHARED if common else getattr(param, "rich_help_panel", None)
            groups.setdefault(panel or default, []).append(record)
    shared = groups.pop(SHARED, [])
    return {title: rows for title, rows in {**groups, SHARED: shared}.items() if rows}


_SHARED_OPTIONS: Final[Mapping[str, tuple[Sequence[str], str, Mapping[str, Any]]]] = {
    "registry": (("--registry", "-C"), "Use this registry.", {"metavar": "DIR"}),
    "yes": (("--yes", "-y"), "Accepted: this command asks nothing.", {"is_flag": True}),
    "quiet": (("--quiet", "-q"), "Print errors and what was asked for, nothing else.", {"is_flag": True}),
    "verbose": (("--verbose", "-v"), "Also print each step.", {"is_flag": True}),
    "color": (
        ("--color",),
        "Colour the output: auto, always or never.",
        {"metavar": "WHEN", "callback": _checked_colour, "autocompletion": _colours},
    ),
}
