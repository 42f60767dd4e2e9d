"""What a table of models shows of each and chooses by: a tenth of what is recorded of it."""

from typing import Final

from imageworks.detection.problems import condition_of
from imageworks.registry.entries.queries import Model, part, text

_SHOWN: Final = (
    "backend",
    "capabilities",
    "deprecated",
    "display_name",
    "download_format",
    "download_location",
    "download_path",
    "download_size_bytes",
    "downloaded_at",
    "format",
    "name",
    "producer",
    "quantization",
)
_NAMES_IT: Final = ("family",)
_MADE_IT: Final = ("resolved", "served_model_id", "source")
_FILES: Final = ("conditions", "download_files", "source_provider")
_OF_METADATA: Final = ("ollama", "parameter_size", "parameters", "quantization_details", "testing")


def summary_of(model: Model) -> Model:
    """Return a merged model without what `list` does without; its functions say of it what they say of the whole."""
    recorded = condition_of(model)
    looked_at = recorded is None or recorded.get("status") == "False"  # else its files or the reason are shown
    keys = [
        *_SHOWN,
        *(_NAMES_IT if not text(model, "display_name") else ()),
        *(_MADE_IT if not text(model, "producer") else ()),
        *(_FILES if looked_at else ()),
    ]
    metadata = part(model, "metadata")
    kept = {key: metadata[key] for key in (*_OF_METADATA, *(("single_file",) if looked_at else ())) if key in metadata}
    return {key: model[key] for key in keys if key in model} | ({"metadata": kept} if kept else {})
