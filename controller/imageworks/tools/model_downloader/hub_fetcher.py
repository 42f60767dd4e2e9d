"""The analyzer's way to the user's own hub."""

from typing import TYPE_CHECKING

from imageworks.config import load_host_settings
from imageworks.identifiers import HubIdentifier
from imageworks.providers.huggingface import HubClient
from imageworks.tools.model_downloader.url_analyzer import FetchedListing

if TYPE_CHECKING:
    from imageworks.transfer.files import RemoteFile


class HubFetcher:
    """Asks the hub of the environment; what is asked for twice is answered from memory.

    Args:
        client: The hub; the one of the user's environment when absent, which keeps nothing on the disk.
    """

    def __init__(self, client: HubClient | None = None) -> None:
        self._client = client or _own_client()
        self._files: dict[tuple[str, str], dict[str, RemoteFile]] = {}

    @property
    def endpoint(self) -> str:
        """The hub's address."""
        return self._client.endpoint

    def listing(self, identifier: HubIdentifier) -> FetchedListing:
        """Return a repository's files at the commit that its revision is now.

        Args:
            identifier: Which repository and revision.
        """
        resolved = self._client.resolve(identifier.repo, identifier.revision or "main")
        listed = self._client.listing(resolved.repo, resolved.commit)
        self._files[resolved.repo, resolved.commit] = {file.path: file for file in listed.files}
        return FetchedListing(
            resolved.repo,
            resolved.commit,
            listed.files,
            task=resolved.pipeline_tag,
            library=resolved.library_name,
            license=resolved.license,
        )

    def read(self, listing: FetchedListing, path: str, offset: int, length: int) -> bytes:
        """Return a range of one file.

        Args:
            listing: What `listing` returned.
            path: A path of it.
            offset: Where the range starts, in bytes.
            length: How long it is, in bytes.
        """
        file = self._files[listing.repo, listing.commit][path]
        return self._client.source(listing.repo, listing.commit).read(file, offset, length)


def _own_client() -> HubClient:
    host = load_host_settings()
    return HubClient.from_environment(host.environment(), cache_dir=host.cache_dir, write_cache=False)
