"""Adapters: weights that change another model and cannot run without it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detection.file_names import Role, classify
from imageworks.foundation.json_values import EMPTY, text

_OWN_WEIGHTS: Final = ("adapter_", "adapters.", "pytorch_lora_weights.", "pytorch_custom_diffusion_weights.")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What an adapter says of itself.

    Args:
        base: The model that it changes: a repository, or a path on the machine that trained it.
        peft: Whether PEFT's format says so, which vLLM reads.
        kind: PEFT's word for it, such as ``LORA``.
    """

    base: str | None
    peft: bool
    kind: str | None = None

    @property
    def told(self) -> str:
        """What a person should know before it is served."""
        needs = f"an adapter, and no model of its own: it needs its base, {self.base or 'which its files do not name'}"
        return f"{needs} (vLLM: --enable-lora --lora-modules NAME=PATH)" if self.peft else needs


def adapter_of(
    paths: Collection[str], read_json: Callable[[str], Mapping[str, object] | None], *, base: str | None = None
) -> Adapter | None:
    """Return what an adapter is; ``None`` for files that are a model of their own."""
    peft = "adapter_config.json" in paths
    top = [path.lower() for path in paths if "/" not in path and classify(path).role is Role.WEIGHTS]
    own = [name for name in top if name.startswith(_OWN_WEIGHTS)]
    if not own and not peft:
        return None
    if len(own) < len(top):
        return None
    config = (read_json("adapter_config.json") if peft else None) or EMPTY
    said = text(config, "base_model_name_or_path") or text(config, "model") or base
    return Adapter(said or None, peft, text(config, "peft_type"))
