"""What belongs to ImageWorks itself and not to its registry: importing it says how it finds its model."""

raise ImportError(
    "ColorNarrator is one of ImageWorks' applications and not part of this package. An application asks the registry "
    "for its model: imageworks.model_loader.role_selection.select_by_role('narration') gives the name, "
    "imageworks.model_loader.service.select_model(name) the server's address."
)
