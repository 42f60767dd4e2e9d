"""Registries to look at, made up: any number of models with everything that the page shows of them."""

import random
from datetime import UTC, date, datetime, timedelta

from imageworks.detection.sizes.memory import Cache, CachedLayers, Demand
from imageworks.page.values import (
    ExceptionRow,
    FoundStore,
    HostColumn,
    PageDetails,
    PageFacts,
    PageModel,
    RoleRows,
    SharedBytes,
    SourcePart,
    Step,
    StepChange,
)
from imageworks.registry.entries.entry import ArtifactFile

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
GIB = 1 << 30
OWNERS = ("qwen", "meta-llama", "mistralai", "google", "bartowski", "unsloth")
FAMILIES = ("qwen2.5-vl-7b", "llama-3.1-8b", "mistral-small-24b", "gemma-3-12b", "phi-4", "qwen3-embedding")
FORMS = (
    ("gguf", "ollama", "q4_k_m"),
    ("safetensors", "vllm", "fp8"),
    ("awq", "vllm", "w4g128"),
    ("mlx", "lmstudio", "4bit"),
)
CACHE = "/home/ada/.cache/huggingface/hub"
CARD = "# A model\n\n| bench | score |\n|---|---|\n| MMLU | 71.2 |\n\nSee [the paper](https://example.org/p).\n"


def facts(count: int, *, name: str = "models") -> PageFacts:
    """Return a registry of so many models."""
    chance = random.Random(count)  # noqa: S311 - which ones, nothing more
    models = tuple(model(number, chance) for number in range(count))
    steps = tuple(step(number, models) for number in range(min(count, 60)))
    return PageFacts(
        registry=name,
        host="workstation",
        commit="0123456789abcdef" * 2 + "01234567",
        made=NOW,
        models=models,
        unfinished=(("qwen3-32b-vllm", 61, 40 * GIB),),
        steps=steps,
        older=True,
        hosts=tuple(host(number, models) for number in range(3)),
        roles=(RoleRows("caption", tuple((one.name, 10, not one.wrong) for one in models[:3])),),
        rules={"allowed_licenses": "apache-2.0, mit", "require_pins": "yes"},
        exceptions=(ExceptionRow(models[0].name, "allowed_licenses", "a trial", date(2026, 12, 24), over=False),),
        stores=(FoundStore("Hugging Face cache", CACHE, {"bert/base": GIB, "t5/small": GIB}),),
        shared=(SharedBytes(4 * GIB, (f"{models[0].name}: model.gguf", "LM Studio: model.gguf")),),
        saved=4 * GIB,
    )


def model(number: int, chance: random.Random) -> PageModel:
    """Return one model."""
    family = FAMILIES[number % len(FAMILIES)]
    form, backend, quantization = FORMS[number % len(FORMS)]
    name = f"{family}-{backend}-{form}-{quantization}-{number}"
    size = chance.randrange(GIB, 40 * GIB)
    damaged = number % 20 == 2
    files = tuple((f"model-{part}.{form}", size // 4) for part in range(4))
    cache = Cache((CachedLayers(32, 2048),))
    return PageModel(
        name=name,
        owner=OWNERS[number % len(OWNERS)],
        sync="out-of-sync" if damaged else "synced",
        health="damaged" if damaged else "healthy",
        reason="size-mismatch: model-1 has 12 B of 1.2 GiB" if damaged else "",
        wrong=damaged,
        size=size,
        format=form,
        backend=backend,
        quantization=quantization,
        parameters="7.6b",
        location=("linux_wsl", "windows_lmstudio")[number % 2],
        changed=NOW - timedelta(days=number * 3 % 500),
        roles=("caption",) if number < 3 else (),
        files=files,
        memory=Demand(size, cache, 256 << 20, 32768),
    )


def details(name: str) -> PageDetails:
    """Return what the page of one model says besides."""
    family, backend, form, quantization, number = name.rsplit("-", 4)
    commit, owner = f"{int(number):040x}", OWNERS[int(number) % len(OWNERS)]
    return PageDetails(
        title=f"{family} ({quantization})",
        facts={"Source": f"{owner}/{family} @ {commit}", "Licence": "apache-2.0"},
        manifest=(SourcePart("schema_version: 1"), SourcePart(f"backend: {backend}", commit, NOW, "Ada")),
        commands=(f"imageworks-models launch {backend} {name}",),
        files=tuple(ArtifactFile(f"model-{part}.{form}", GIB, f"{int(number):032x}{part:032x}") for part in range(4)),
        readme=CARD if int(number) < 50 else "",
        evidence=("config.json: quantization_config",),
    )


def step(number: int, models: tuple[PageModel, ...]) -> Step:
    """Return one commit."""
    one = models[number % len(models)]
    fields = (("source.revision", "a" * 40, "b" * 40),)
    changes = (
        StepChange(one.name, "changed", fields=fields, text="aaaaaaaaaaaa → bbbbbbbbbbbb"),
        StepChange(one.name, "updated", host="workstation", text="2 files changed", bytes=one.size // 3),
    )
    return Step(f"{number:040x}", NOW - timedelta(days=3 * number), "Ada Lovelace", f"Update {one.name}", changes)


def host(number: int, models: tuple[PageModel, ...]) -> HostColumn:
    """Return one host."""
    has = {one.name: f"{number:010x}" for at, one in enumerate(models) if at % (number + 1) == 0}
    size = sum(one.size for one in models if one.name in has)
    return HostColumn(f"host-{number}", NOW - timedelta(days=40 * number), ("gpu=h100",), has, size, number == 0)
