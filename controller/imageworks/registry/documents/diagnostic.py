"""What validation says of a document: one problem, its place and its remedy."""

from collections.abc import Iterable
from dataclasses import dataclass

from imageworks.registry.documents.document import START, Document, DocumentError, Pointer
from imageworks.registry.documents.schema_messages import SchemaProblem


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One problem in one file; sorts by place.

    Args:
        file: The file's path within the registry, ``/``-separated, or as the user gave it.
        line: Line of the problem, from 1.
        column: Column of the problem in characters, from 1.
        message: What is wrong, in one line.
        remedy: What to do about it; empty when the message says it.
    """

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def render(self) -> str:
        """Return ``file:line:column: message``, as editors and CI systems understand it."""
        file = self.file if self.file.isprintable() else repr(self.file)[1:-1]  # a name begins no line of its own
        return f"{file}:{self.line}:{self.column}: {self.message}"

    def document(self) -> dict[str, str | int]:
        """Return the diagnostic in JSON's data model."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "remedy": self.remedy,
        }


def whole_file(file: str, message: str, remedy: str = "") -> Diagnostic:
    """Return a diagnostic about a file as a whole."""
    return Diagnostic(file, START.line, START.column, message, remedy)


def at(document: Document, pointer: Pointer, message: str, remedy: str = "", *, key: bool = False) -> Diagnostic:
    """Return a diagnostic about a value of a document, or about its key."""
    position = document.locate(pointer, key=key)
    return Diagnostic(document.file, position.line, position.column, message, remedy)


def from_error(error: DocumentError) -> Diagnostic:
    """Return the diagnostic for a file that could not be read as a document."""
    return Diagnostic(error.file, error.line, error.column, error.problem, error.remedy or "")


def from_problems(document: Document, problems: Iterable[SchemaProblem]) -> list[Diagnostic]:
    """Return the diagnostics for what a schema found; each message names the field that it is about."""
    found = []
    problems = list(problems)
    document = document.located(problem.pointer for problem in problems)
    for problem in problems:
        field = render_pointer(problem.pointer)
        message = problem.message if problem.key or not field else f"{field}: {problem.message}"
        found.append(at(document, problem.pointer, message, problem.suggestion or "", key=problem.key))
    return found


def render_pointer(pointer: Pointer) -> str:
    """Return a pointer as people write it: ``backend_config.extra_args[0]``."""
    text = ""
    for step in pointer:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file's content was not read.

    Args:
        reason: What it is, to be put after "is": ``a symbolic link``.
        remedy: What to do about it.
    """

    reason: str
    remedy: str = "put a plain file in its place"
