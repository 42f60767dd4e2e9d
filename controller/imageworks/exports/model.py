"""A recorded model as exports need it, and what no file of another program may hold."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.registry.entries.queries import Model, file_paths, part, text, texts
from imageworks.registry.manifests.manifest import is_commit

LONGEST_LABEL: Final = 63
SHORT: Final = 8
_NO_LABEL: Final = re.compile(r"[^a-z0-9]+")
_SHARD: Final = re.compile(r"-(\d{5})-of-\d{5}\.gguf$", re.IGNORECASE)


class ExportError(ImageworksError):
    """Something cannot be exported as asked."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """One model of this host.

    Args:
        name: The variant name.
        path: The folder or file of its bytes; empty where it has none.
        size: Bytes of all its files.
        repo: The repository on the Hub; empty where it comes from elsewhere.
        revision: The recorded revision.
        sha256: The aggregate digest of its files.
        aliases: Other names by which clients may ask for it.
        weights: The GGUF file that a server opens; empty where it is not one.
        projector: The GGUF file of its projector; empty where there is none.
        context: Tokens that it is made for; ``None`` where that is not known.
        container: The format of its files.
    """

    name: str
    path: str
    size: int = 0
    repo: str = ""
    revision: str = ""
    sha256: str = ""
    aliases: tuple[str, ...] = ()
    weights: str = ""
    projector: str = ""
    context: int | None = None
    container: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether it stands for one commit of a repository on the Hub."""
        return bool(self.repo) and is_commit(self.revision)


def exported(model: Model) -> ExportedModel:
    """Return a merged model as exports need it."""
    resolved, artifacts = part(model, "resolved"), part(model, "artifacts")
    ggufs = [path for path in file_paths(model) if path.lower().endswith(".gguf")]
    projectors = [path for path in ggufs if "mmproj" in path.rpartition("/")[2].lower()]
    weights = [path for path in ggufs if path not in projectors and _opens(path)]
    from_hub = text(model, "source_provider") in {"huggingface", "hf", ""}
    size = model.get("download_size_bytes")
    served = text(model, "served_model_id")
    context = part(part(model, "metadata"), "architecture").get("context_length")
    return ExportedModel(
        name=text(model, "name"),
        path=text(model, "download_path") if text(model, "download_path").startswith("/") else "",
        size=size if isinstance(size, int) else 0,
        repo=text(resolved, "repo") if from_hub else "",
        revision=text(resolved, "revision"),
        sha256=text(artifacts, "aggregate_sha256"),
        aliases=tuple(dict.fromkeys(one for one in (served, *texts(model, "model_aliases")) if one)),
        weights=weights[0] if len(weights) == 1 else "",
        projector=projectors[0] if len(projectors) == 1 else "",
        context=context if isinstance(context, int) and context > 0 else None,
        container=text(model, "download_format"),
    )


def _opens(path: str) -> bool:
    """Return whether a server opens a file itself, rather than as a later part of another."""
    found = _SHARD.search(path)
    return found is None or int(found[1]) == 1


def label_of(name: str, revision: str = "") -> str:
    """Return a name that Kubernetes takes for an object, with the short revision in it; another name gives another."""
    tail = f"-{revision[:SHORT]}" if revision else ""
    plain = _NO_LABEL.sub("-", name.lower()).strip("-")
    room = LONGEST_LABEL - len(tail)
    if plain != name or len(plain) > room or not plain[:1].isalpha():
        mark = sha256(name.encode()).hexdigest()[:SHORT]
        plain = f"{plain[: room - SHORT - 3].strip('-') or 'model'}-{mark}"
        plain = plain if plain[0].isalpha() else f"m-{plain}"
    return plain + tail


def refuse_control(values: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
    """Refuse values that a line of another program's file cannot hold; naming where they come from."""
    for where, value in dict(values).items():
        if not value.isprintable():
            raise ExportError(
                f"{where}: {value!a} holds characters that no configuration file can hold", remedy="Name it plainly."
            )
