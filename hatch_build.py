"""What the build adds to the metadata: a README whose links also lead somewhere on the page of an index."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(\]\()(?![a-z+]+:|#)([^)]+\))")
IMAGE = re.compile(r"(!\[[^\]]*\]\([^)]*?)/blob/")


class ReadmeHook(MetadataHookInterface):
    """Makes the README's relative links absolute, at the tag of the version that is built."""

    def update(self, metadata: dict[str, object]) -> None:
        """Add the README to the metadata."""
        urls = metadata["urls"]
        repository = urls["Repository"] if isinstance(urls, dict) else ""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        absolute = RELATIVE.sub(rf"\g<1>{repository}/blob/v{metadata['version']}/\g<2>", text)
        absolute = IMAGE.sub(r"\g<1>/raw/", absolute)
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute}
