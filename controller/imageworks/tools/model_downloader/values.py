"""What the downloader's stages pass on, and what a download returns."""

from dataclasses import dataclass, field
from pathlib import Path

from imageworks.files.artifact import RemoteFile
from imageworks.foundation.tables import html_table
from imageworks.foundation.texts import human_bytes
from imageworks.model_loader.entries import RegistryEntry
from imageworks.naming.hub_identifiers import HubIdentifier
from imageworks.providers.named_source import NamedSource


@dataclass(frozen=True, slots=True)
class RepositoryMetadata:
    """Which repository is meant, in the one spelling that the later stages use.

    Args:
        identifier: The repository, with the revision and the quantization that were named.
        owner: The first part of ``owner/name``; empty for a legacy single name.
        name: The last part.
        branch: The branch, tag or commit that was named; ``None`` for the main branch.
    """

    identifier: HubIdentifier | NamedSource
    owner: str
    name: str
    branch: str | None


@dataclass(frozen=True, slots=True)
class FilePartition:
    """A repository's files by what is to become of them.

    Args:
        required: The chosen weights and what is needed to load them, with README and licence.
        optional: Documents, pictures and examples, which come when they are asked for.
        left_out: Other quantizations, other containers, logs.
    """

    required: tuple[RemoteFile, ...]
    optional: tuple[RemoteFile, ...]
    left_out: tuple[RemoteFile, ...]

    @property
    def required_bytes(self) -> int:
        """The size of the required files together."""
        return sum(file.size for file in self.required)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Where a model's chat template is.

    Args:
        source: ``external`` for a file of its own, ``embedded`` in the tokenizer's configuration or GGUF, or ``none``.
        path: The file that it was found in, absolute.
        sha256: Its digest.
    """

    source: str = "none"
    path: Path | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class DownloadedModel:
    """A model that is here, verified and recorded.

    Args:
        name: The variant name, which every other call takes.
        display_name: The name that people see.
        path: Its folder, or its only file.
        format: How its weights are packed.
        quantization: Its quantization.
        location: The name of the location that it stands in, or ``custom``.
        size_bytes: The bytes of all its files.
        files: Their relative paths.
        revision: The commit that is installed.
        action: What was done: ``install``, ``update``, ``adopt``, ``move``, ``repair``, or ``none`` where it was here.
        manifest: The registry path of what declares it; ``None`` for a model that is only recorded.
        commit: The commit that records it; ``None`` where nothing had to be recorded.
        chat_template: Where its chat template is.
        left_to_choose: Optional files that the repository has and that were not asked for.
        notes: What was decided without asking, and what a person should know besides.
        entry: Everything that is recorded of it.
        incomplete: Why it cannot be loaded although every byte came: a reason and a sentence; ``None`` where nothing is
            known to lack.
    """

    name: str
    display_name: str
    path: Path
    format: str | None
    quantization: str | None
    location: str | None
    size_bytes: int
    files: tuple[str, ...]
    revision: str | None
    action: str
    manifest: str | None
    commit: str | None
    chat_template: ChatTemplate
    left_to_choose: tuple[str, ...]
    notes: tuple[str, ...]
    entry: RegistryEntry = field(repr=False)
    incomplete: str | None = None

    def __repr__(self) -> str:
        kind = " ".join(filter(None, (self.format, self.quantization)))
        lacks = f", incomplete: {self.incomplete}" if self.incomplete else ""
        return f"<{self.name}: {self.action}, {kind}, {human_bytes(self.size_bytes)} at {self.path}{lacks}>"

    def _repr_html_(self) -> str:
        """Return the model as a notebook shows it."""
        shown = (
            "display_name",
            "path",
            "format",
            "quantization",
            "location",
            "revision",
            "manifest",
            "commit",
            "action",
        )
        rows = [(key, getattr(self, key)) for key in shown]
        rows += [("size", f"{human_bytes(self.size_bytes)} in {len(self.files)} files"), ("lacks", self.incomplete)]
        return html_table(("", ""), [row for row in rows if row[1]], caption=self.name, below="\n".join(self.notes))

    @property
    def download_path(self) -> str:
        """The absolute path of its folder, or of its only file, as text."""
        return self.entry.download_path or str(self.path)

    def __getattr__(self, name: str) -> object:
        """Return what is recorded of it by an entry's own name, such as ``download_format`` or ``backend_config``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.entry, name)
