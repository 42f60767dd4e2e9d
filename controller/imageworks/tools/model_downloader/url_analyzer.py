"""What a repository of the Hub is, without downloading it, as the earlier API had it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imageworks.detection.file_names import classify
from imageworks.detection.model_facts import ModelFacts
from imageworks.host.settings import load_host_settings
from imageworks.naming.hub_identifiers import HubIdentifier, parse_hub_identifier
from imageworks.providers.huggingface.client import HubClient
from imageworks.providers.selection.requested_files import LARGEST_SMALL_BYTES, describe_remote, subject_of
from imageworks.tools.model_downloader.formats import FormatInfo, formats_of


@dataclass(frozen=True, slots=True)
class URLAnalysis:
    """What a repository is.

    Args:
        repository: Which one, and which revision.
        commit: The commit that was looked at.
        files: Paths by role: ``weights``, ``config``, ``tokenizer`` and so on.
        formats: Containers and the quantization, the most confident first.
        total_size: Bytes of all files.
        config_content: The content of ``config.json``; ``None`` without one.
        facts: Everything else that its files say.
    """

    repository: HubIdentifier
    commit: str
    files: Mapping[str, tuple[str, ...]]
    formats: tuple[FormatInfo, ...]
    total_size: int
    config_content: str | None
    facts: ModelFacts = field(repr=False)


class URLAnalyzer:
    """Analyzes URLs and identifiers of the Hub.

    Args:
        client: The hub; the one of the user's environment when absent, which keeps nothing on the disk.
    """

    def __init__(self, client: HubClient | None = None) -> None:
        self._client = client

    def analyze_url(self, url: str) -> URLAnalysis:
        """Return what a repository is; weights are not downloaded, only the beginnings of a few are read.

        Args:
            url: A page of the Hub, ``owner/repo`` or ``owner/repo@branch``.

        Raises:
            ImageworksError: It names no model, does not exist, may not be seen, or the hub cannot be reached.
        """
        client = self._client or _own_client()
        identifier = parse_hub_identifier(url, endpoints=(client.endpoint,))
        resolved = client.resolve(identifier.repo, identifier.revision or "main")
        files = {file.path: file for file in client.listing(resolved.repo, resolved.commit).files}
        source = client.source(resolved.repo, resolved.commit)
        facts = describe_remote(files.values(), source, subject=subject_of(resolved, identifier.revision))
        config = files.get("config.json")
        content = source.read(config, 0, config.size) if config and config.size <= LARGEST_SMALL_BYTES else None
        return URLAnalysis(
            repository=identifier,
            commit=resolved.commit,
            files=_by_role(files),
            formats=tuple(formats_of(facts)),
            total_size=sum(file.size for file in files.values()),
            config_content=content.decode(errors="replace") if content is not None else None,
            facts=facts,
        )


def _by_role(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return paths by what they are for."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        found.setdefault(classify(path).role.value, []).append(path)
    return {role: tuple(listed) for role, listed in found.items()}


def _own_client() -> HubClient:
    host = load_host_settings()
    return HubClient.from_environment(host.environment(), cache_dir=host.cache_dir, write_cache=False)
