"""What is no more: importing it says where its work is done now."""

raise ImportError(
    "imageworks.tools.model_downloader.registry is gone. Use record_download, list_downloads and remove_download of "
    "imageworks.model_loader.download_adapter instead; the registry is a Git repository of manifests and entries."
)
