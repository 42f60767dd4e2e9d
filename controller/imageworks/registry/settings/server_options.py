"""What a registry may say on a server's command line: its options by what they can do. Pure.

A registry is data that others write. Its options reach a server only where all they can do is tune it; what loads code,
reads files or opens the machine comes from the person's own command line, or is allowed by this host's own settings.
What the table does not know counts as loading code, and so does an abbreviation.

Read from the command lines of vLLM 0.33 (docs.vllm.ai, `vllm serve`) and LMDeploy 0.16.0 (lmdeploy/cli).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from imageworks.registry.settings.server_arguments import Option, split_options


class Effect(StrEnum):
    """What an option can do beyond tuning."""

    EXPOSURE = "lets others in, or sends something out"
    FILES = "reads files of its own"
    CODE = "loads code or another model"


QWEN3_RERANKER: Final[Mapping[str, object]] = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
"""What vLLM's documentation gives for the original Qwen3 rerankers."""

_TUNING: Final[Mapping[str, str]] = {
    "vllm": """
        port served-model-name api-key uvicorn-log-level disable-uvicorn-access-log disable-fastapi-docs
        disable-log-stats disable-log-requests enable-log-requests max-log-len response-role
        chat-template-content-format enable-auto-tool-choice tool-call-parser reasoning-parser enable-reasoning
        enable-request-id-headers enable-prompt-tokens-details return-tokens-as-token-ids override-generation-config
        tokenizer-mode dtype quantization kv-cache-dtype max-model-len max-num-seqs max-num-batched-tokens
        max-num-partial-prefills max-long-partial-prefills long-prefill-token-threshold max-logprobs
        max-seq-len-to-capture gpu-memory-utilization kv-cache-memory-bytes swap-space cpu-offload-gb block-size
        num-gpu-blocks-override enable-prefix-caching enable-chunked-prefill enforce-eager seed device
        tensor-parallel-size pipeline-parallel-size data-parallel-size decode-context-parallel-size
        enable-expert-parallel disable-custom-all-reduce max-parallel-loading-workers scheduling-policy
        async-scheduling num-scheduler-steps disable-sliding-window disable-cascade-attn task runner convert
        limit-mm-per-prompt disable-mm-preprocessor-cache mm-processor-cache-gb mm-encoder-tp-mode
        language-model-only skip-mm-profiling interleave-mm-strings guided-decoding-backend calculate-kv-scales
        rope-theta enable-lora max-loras max-lora-rank max-cpu-loras lora-dtype fully-sharded-loras
        lora-extra-vocab-size skip-tokenizer-init attention-backend api-server-count -O0 -O1 -O2 -O3""",
    "lmdeploy": """
        server-port model-name api-keys log-level max-log-len disable-fastapi-docs max-concurrent-requests
        enable-abort-handling tool-call-parser reasoning-parser backend device dtype tp dp ep cp session-len
        max-batch-size cache-max-entry-count cache-block-seq-len block-size kernel-block-size enable-prefix-caching
        max-prefill-token-num num-tokens-per-iter max-prefill-iters quant-policy model-format eager-mode
        rope-scaling-factor use-logn-attn communicator vision-max-batch-size language-model-only logprobs-mode
        disable-metrics enable-metrics async cudagraph-capture-batch-sizes enable-microbatch enable-eplb
        prefix-cache-state-budget prefix-cache-decode-state-interval speculative-algorithm
        speculative-num-draft-tokens dllm-block-length dllm-unmasking-strategy dllm-denoising-steps
        dllm-confidence-threshold""",
}
_EXPOSING: Final[Mapping[str, str]] = {
    "vllm": """
        host uds root-path allowed-origins allowed-methods allowed-headers allow-credentials allowed-media-domains
        headless data-parallel-address data-parallel-rpc-port master-addr master-port nnodes node-rank
        otlp-traces-endpoint kv-events-config""",
    "lmdeploy": """
        server-name allow-origins allow-methods allow-headers allow-credentials allow-terminate-by-client
        allowed-media-domains proxy-url dist-init-addr nnodes node-rank role migration-backend""",
}
_READING: Final[Mapping[str, str]] = {
    "vllm": """
        config chat-template hf-config-path generation-config tokenizer download-dir allowed-local-media-path
        lora-modules ssl-keyfile ssl-certfile ssl-ca-certs ssl-cert-reqs enable-ssl-refresh hf-token revision
        tokenizer-revision""",
    "lmdeploy": "chat-template adapters generation-config download-dir ssl revision",
}
_SEVERAL: Final = frozenset(
    {"served-model-name", "api-key", "api-keys", "cudagraph-capture-batch-sizes", "limit-mm-per-prompt"}
)
"""Options that tune with several values."""
_TUNING_VALUES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("vllm", "--load-format"): frozenset({"auto", "safetensors", "bitsandbytes", "gguf", "mistral", "dummy"}),
    ("vllm", "--config-format"): frozenset({"auto", "hf", "mistral", "gguf"}),
    ("vllm", "--generation-config"): frozenset({"auto", "vllm"}),
    ("vllm", "--model-impl"): frozenset({"auto", "vllm", "transformers"}),
    ("vllm", "--distributed-executor-backend"): frozenset({"mp", "ray", "uni"}),
    ("lmdeploy", "--distributed-executor-backend"): frozenset({"mp", "ray", "uni"}),
}
"""Options of which some values only tune."""

ADDRESS_OPTIONS: Final[Mapping[str, str]] = {"vllm": "--host", "lmdeploy": "--server-name"}


@dataclass(frozen=True, slots=True)
class Reaching:
    """An option of a registry that does more than tune.

    Args:
        option: Its name, or the word itself where it is none.
        effect: What it can do.
        words: As it was written.
    """

    option: str
    effect: Effect
    words: tuple[str, ...]


def reaching_options(server: str, words: Iterable[str]) -> Iterator[Reaching]:
    """Yield those of a registry's options that do more than tune a server."""
    known = "vllm" if server in {"", "unassigned"} else server
    for option in split_options(words) if known in _TUNING else ():
        effect = _effect(known, option)
        if effect is not None:
            yield Reaching(option.name or option.words[0], effect, option.words)


def _effect(server: str, option: Option) -> Effect | None:
    name = option.name.removeprefix("--")
    value = _value(option)
    if option.name == ADDRESS_OPTIONS[server] and value is not None and is_loopback(value):
        return None
    if name in _TUNING[server].split():
        extra = value is None and len(option.words) > 1 and name not in _SEVERAL
        return Effect.CODE if extra else None  # a word too many may be taken for another model
    if value is not None and value in _TUNING_VALUES.get((server, option.name), frozenset()):
        return None
    if (server, name) == ("vllm", "hf-overrides") and _is_json(value, QWEN3_RERANKER):
        return None
    if name in _EXPOSING[server].split():
        return Effect.EXPOSURE
    return Effect.FILES if name in _READING[server].split() else Effect.CODE


def _value(option: Option) -> str | None:
    _, equals, value = option.words[0].partition("=")
    given = [*([value] if equals else []), *option.words[1:]]
    return given[0] if len(given) == 1 else None


def _is_json(value: str | None, wanted: Mapping[str, object]) -> bool:
    with suppress(ValueError, RecursionError):
        return value is not None and json.loads(value) == wanted
    return False


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
