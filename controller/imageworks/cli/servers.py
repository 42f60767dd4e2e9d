"""What the commands share that serve something until they are interrupted."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain
from imageworks.cli.pauses import pauses

if TYPE_CHECKING:
    from types import FrameType

    from imageworks.foundation.http_access import ServerAccess

Host = Annotated[str, typer.Option("--host", help="Address to listen on; what other machines reach asks for a token.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="PATH", help="File with the token that clients must send as bearer token."),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Let everybody in who reaches the address, without a token.")
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A name of this machine that clients use. Repeatable."),
]


def read_access(
    token_file: Path | None, variable: str, names: list[str] | None, *, insecure: bool, pages: list[str] | None = None
) -> "ServerAccess":
    """Return the rules that the options and the environment give; warn of a token that others can read."""
    from imageworks.foundation.http_access import ServerAccess, origin_of, read_token
    from imageworks.foundation.log import keep_secret

    token = read_token(token_file, variable)
    if token is not None:
        keep_secret(token)
    if token_file is not None and token_file.is_file() and token_file.stat().st_mode & 0o077:
        complain(f"warning: other users can read the token in {token_file}: `chmod 600` makes it yours")
    return ServerAccess(
        token=token,
        insecure=insecure,
        names=frozenset(name.lower().removesuffix(".") for name in names or ()),
        origins=None if pages is None else frozenset(origin_of(page) for page in pages),
    )


def warn_if_open(host: str, what: str, *, is_open: bool) -> None:
    """Warn of a server that lets other machines in without a token."""
    if is_open:
        complain(f"warning: listening on {host}: everybody who can reach this machine can read {what}")


@contextmanager
def interruption() -> Iterator[Callable[[], None]]:
    """Give what waits until a signal asks this process to end."""
    asked: list[int] = []

    def end(number: int, _frame: "FrameType | None") -> None:
        asked.append(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with pauses() as pause:

            def wait() -> None:
                while not asked:
                    pause(None)

            yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
