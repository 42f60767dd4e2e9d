"""Folders whose layout says what each file in them is: image tools' categories and other programs' stores. Pure.

Names in, models out. Read in November 2026: ComfyUI (folder_paths.py), Stable Diffusion WebUI and Forge (models/), the
Hugging Face cache (huggingface_hub's cache guide), llama.cpp (common/download.cpp; since March 2026 that cache),
Docker Model Runner (its store of layout.json, models.json and blobs), RamaLama (model_store) and Ollama.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from imageworks.detection.file_names import Container, Role, classify
from imageworks.naming.hub_cache import cached_repository


class Layout(StrEnum):
    """What a folder is."""

    CATEGORY = "category"
    HUB_CACHE = "hub-cache"
    HUB_REPOSITORY = "hub-repository"
    HUB_OTHER = "hub-other"
    LLAMA_CPP = "llama.cpp"
    DOCKER = "docker-model-runner"
    RAMALAMA = "ramalama"
    OLLAMA = "ollama"
    TOOL = "image-tool"
    SINGLES = "singles"


NO_MODELS: Final = {
    Layout.HUB_OTHER: "a data set or a space in the Hugging Face cache",
    Layout.OLLAMA: "Ollama's store; `import-ollama` records what is in it",
}
"""Why nothing in a folder of this layout is a model for `scan`."""


_KINDS: Final[Mapping[str, str]] = {
    "checkpoint": "checkpoints stable-diffusion",
    "lora": "loras lora lycoris locon",
    "vae": "vae vae_approx",
    "controlnet": "controlnet t2i_adapter controlnetpreprocessor",
    "text-encoder": "text_encoders text_encoder clip",
    "diffusion-model": "diffusion_models unet",
    "embedding": "embeddings",
    "upscaler": "upscale_models latent_upscale_models esrgan realesrgan swinir ldsr dat",
    "clip-vision": "clip_vision",
    "style-model": "style_models",
    "hypernetwork": "hypernetworks",
    "gligen": "gligen",
    "photomaker": "photomaker",
    "audio-encoder": "audio_encoders",
    "model-patch": "model_patches",
    "face-restorer": "facerestore_models gfpgan codeformer",
    "ip-adapter": "ipadapter",
    "animatediff": "animatediff_models animatediff_motion_lora",
}
"""Kinds of models with the folders that hold them, in lower case."""
CATEGORIES: Final = {folder: kind for kind, folders in _KINDS.items() for folder in folders.split()}
_WHOLE: Final = frozenset(
    {"config.json", "model_index.json", "adapter_config.json", "params.json", "tokenizer.json", "tokenizer_config.json"}
)
"""Files that make a folder one model whatever it is called."""
_PARTS: Final = frozenset({
    "model", "pytorch_model", "diffusion_pytorch_model", "encoder", "decoder", "vocoder", "generator", "discriminator",
    "text_encoder", "text_encoder_2", "vae", "unet", "transformer", "prior", "quantizer", "adapter", "adapter_model",
    "optimizer", "vision_tower", "projector", "mm_projector", "consolidated", "speech_tokenizer", "flow", "llm",
})  # fmt: skip
_PIPELINE_PARTS: Final = frozenset({"vae", "unet", "text_encoder", "controlnet", "clip"})
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")
_OTHER_HUB_FOLDER: Final = re.compile(r"(datasets|spaces)--.+")
_TRANSPORTS: Final = frozenset({"huggingface", "ollama", "modelscope", "oci", "rlcr", "url", "file"})
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LLAMA_MANIFEST: Final = re.compile(r"manifest=([^=]+)=([^=]+)=([^=]+)\.json")


@dataclass(frozen=True, slots=True)
class FoundLayout:
    """One model of a known layout.

    Args:
        path: Its folder or its file, below the folder that was looked at.
        repo: ``owner/repo`` where that is known, else its name.
        kind: What it is, where the layout says so.
        commit: The commit of the hub that it is.
        ref: The branch that led to it.
        why_not: Why it is not recorded; empty where it is.
    """

    path: str
    repo: str
    kind: str | None = None
    commit: str | None = None
    ref: str | None = None
    why_not: str = ""


def layout_of(name: str, files: Collection[str], folders: Collection[str]) -> Layout | None:
    """Return what a folder is, or ``None`` for one like any other."""
    there, below = set(files), set(folders)
    one_model = bool(there & _WHOLE) or any(file.endswith(".index.json") for file in there)
    claims = (
        (Layout.HUB_REPOSITORY, _is_cached(name) and "snapshots" in below),
        (Layout.HUB_OTHER, bool(_OTHER_HUB_FOLDER.fullmatch(name))),
        (Layout.HUB_CACHE, any(map(_is_cached, below))),
        (Layout.DOCKER, {"layout.json", "models.json"} <= there and "blobs" in below),
        (Layout.OLLAMA, {"manifests", "blobs"} <= below and not there - {".DS_Store"}),
        (Layout.RAMALAMA, name == "store" and bool(below & _TRANSPORTS)),
        (Layout.LLAMA_CPP, any(_LLAMA_MANIFEST.fullmatch(file) for file in there)),
        (Layout.CATEGORY, not one_model and name.lower() in CATEGORIES),
        (Layout.TOOL, not one_model and _is_tool(below)),
        (Layout.SINGLES, not one_model and _independent(there)),
    )
    return next((layout for layout, holds in claims if holds), None)


def _is_cached(folder: str) -> bool:
    return bool(_HUB_NAME.fullmatch(cached_repository(folder) or ""))


def _is_tool(folders: Iterable[str]) -> bool:
    """Return whether folders are an image tool's categories, and not the parts of one pipeline."""
    known = {folder.lower() for folder in folders} & CATEGORIES.keys()
    return len(known) > 1 and bool(known - _PIPELINE_PARTS)


def _independent(files: Iterable[str]) -> bool:
    """Return whether a folder's weights are models of their own: several whole files that are not known as parts."""
    whole = []
    for file in files:
        named = classify(file)
        if named.role is not Role.WEIGHTS or named.container is Container.GGUF:
            continue
        single = named.container is Container.SAFETENSORS or file.lower().endswith(".ckpt")
        if not single or named.shards or file.rpartition(".")[0].lower() in _PARTS:
            return False
        whole.append(file)
    return len(whole) > 1


def single_files(paths: Iterable[str], kind: str | None) -> Iterator[FoundLayout]:
    """Yield each file of weights as a model of its own."""
    for path in sorted(paths):
        named = classify(path)
        if named.role is not Role.WEIGHTS:
            continue
        stem = path.rpartition("/")[2].rpartition(".")[0]
        if named.shards:
            why = "a shard among other models; give the sharded model a folder of its own"
            yield FoundLayout(path, stem, kind, why_not=why)
        else:
            yield FoundLayout(path, stem, kind)


def hub_repository(name: str, snapshots: Iterable[str], refs: Mapping[str, str]) -> Iterator[FoundLayout]:
    """Yield the commits of a repository in the Hugging Face cache, those that a branch names first."""
    repo = cached_repository(name) or name
    by_commit = {commit: ref for ref, commit in sorted(refs.items(), reverse=True)}
    for commit in sorted(snapshots, key=lambda one: (one not in by_commit, one)):
        known = bool(_COMMIT.fullmatch(commit))
        why = "" if known else "a snapshot that no commit names"
        yield FoundLayout(
            f"snapshots/{commit}", repo, commit=commit if known else None, ref=by_commit.get(commit), why_not=why
        )


def llama_cpp_models(files: Iterable[str]) -> Iterator[FoundLayout]:
    """Yield the models of llama.cpp's own cache, in which one name holds owner, repository and file."""
    names = sorted(files)
    repos = {(found[1], found[2]) for file in names if (found := _LLAMA_MANIFEST.fullmatch(file))}
    for file in names:
        if classify(file).container is not Container.GGUF:
            continue
        owner, repo = next(((o, r) for o, r in sorted(repos) if file.startswith(f"{o}_{r}_")), ("", ""))
        own = file.removeprefix(f"{owner}_{repo}_") if owner else file
        named = classify(own)
        told = f"{owner}/{repo}" if owner else own.rpartition(".")[0]
        if named.role is Role.PROJECTOR:
            yield FoundLayout(file, told, why_not=f"the projector of {told}")
        elif named.shards:
            yield FoundLayout(
                file, told, why_not="a shard among other models; give the sharded model a folder of its own"
            )
        elif named.role is Role.WEIGHTS:
            yield FoundLayout(file, told)


def docker_models(document: object) -> Iterator[FoundLayout]:
    """Yield the models of Docker Model Runner's store, whose files have no names."""
    listed = document.get("models") if isinstance(document, Mapping) else None
    for model in listed if isinstance(listed, list) else ():
        if not isinstance(model, Mapping):
            continue
        tags = [tag for tag in model.get("tags") or () if isinstance(tag, str)]
        name = next(iter(tags), str(model.get("id") or "a model without a name"))[:255]
        yield FoundLayout(
            "models.json", name, why_not=f"{name}: in Docker Model Runner's store, which only that program serves"
        )


def ramalama_models(paths: Iterable[str]) -> Iterator[FoundLayout]:
    """Yield the models of RamaLama's store by their snapshots."""
    for path in sorted(paths):
        before, snapshot, after = path.partition("/snapshots/")
        parts = before.split("/")
        if not snapshot or len(parts) < 2 or after.count("/") != 1:  # noqa: PLR2004 # transport and model
            continue
        repo, named = "/".join(parts[1:][-2:]), classify(after)
        if parts[0] == "ollama":
            yield FoundLayout(
                path, repo, why_not=f"{repo}: pulled from Ollama's registry; declare it as `source: {{ollama: …}}`"
            )
        elif named.container is Container.GGUF and named.role is Role.PROJECTOR:
            yield FoundLayout(path, repo, why_not=f"the projector of {repo}")
        elif named.container is Container.GGUF and named.shards:
            yield FoundLayout(
                path, repo, why_not="a shard among other models; give the sharded model a folder of its own"
            )
        elif named.container is Container.GGUF and named.role is Role.WEIGHTS:
            yield FoundLayout(path, repo)
        elif named.role is Role.WEIGHTS:
            yield FoundLayout(path, repo, why_not=f"{repo}: only single GGUF files of RamaLama's store are recorded")
