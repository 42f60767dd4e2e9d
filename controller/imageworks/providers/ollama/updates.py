"""What a name of Ollama's registries leads to by now, against what this host has of it."""

from dataclasses import replace

from imageworks.plan.updates import Age, Difference, Followed, ModelUpdate, UpdateStatus
from imageworks.providers.ollama.service import OllamaService


def ask_update(ollama: OllamaService, followed: Followed, age: Age) -> ModelUpdate:
    """Return how a model of Ollama stands; registries tell no dates and keep no history."""
    newest = ollama.upstream(followed.repo)
    if newest is None:
        return followed.unknown(f"{followed.repo}: its registry has no such model any more")
    found = replace(followed.unknown(), latest=f"sha256:{newest.digest}")
    recorded = {file.sha256 for file in followed.entry.files} if followed.entry is not None else set()
    here = followed.entry is not None and followed.entry.revision == followed.commit
    # Older versions of Ollama wrote manifests anew: config and layers tell what is installed.
    if followed.commit == found.latest or (here and not followed.pinned and set(newest.content) == recorded):
        return replace(found, standing=UpdateStatus.CURRENT)
    found = replace(found, standing=UpdateStatus.OUTDATED)
    if not age.allows(None):
        return replace(found, held=True, message="its registry does not say how old the newer one is")
    if not here or followed.entry is None:
        return found
    new = {layer.digest: f"{layer.kind} {layer.digest[:12]}" for layer in newest.layers}
    template = [layer.digest in recorded for layer in newest.layers if layer.kind == "template"]
    difference = Difference(
        size=(followed.entry.size, newest.size),
        added=tuple(sorted(shown for digest, shown in new.items() if digest not in recorded)),
        removed=(),
        changed=(),
        license=(None, None),
        chat_template=not all(template) if template else None,
    )
    return replace(found, difference=difference)
