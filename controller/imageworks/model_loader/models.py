"""The values of the registry's Python functions, under the module's name that code of earlier tools has."""

from imageworks.model_loader.entries import Artifacts, BackendConfig, RegistryEntry
from imageworks.model_loader.service import SelectedModel
from imageworks.registry.entries.entry import ArtifactFile
from imageworks.registry.version_lock import VersionLock

__all__ = ["ArtifactFile", "Artifacts", "BackendConfig", "RegistryEntry", "SelectedModel", "VersionLock"]
