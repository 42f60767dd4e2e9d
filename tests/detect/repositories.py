"""Real repositories of the Hub as typed facts: file names, sizes in all, fragments of configs, and the right answers.

Names are written short: ``model-#4.safetensors`` are four numbered shards, ``X-{A,B}.gguf`` are two files, and ``LM``
is what nearly every language model has beside its weights. Templates are reduced to the words that matter.
"""
# ruff: noqa: E501 - one repository, one line

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.detect.describe import describe
from imageworks.detect.facts import ModelFacts, Subject
from imageworks.detect.filenames import classify

LM: Final = ".gitattributes README.md config.json generation_config.json tokenizer.json tokenizer_config.json"
TOOLS: Final = {
    "tokenizer_config.json": {"chat_template": "{%- if tools %}<tool_call>{{ tools }}{% endif %}{{ messages }}"}
}
PLAIN: Final = {"tokenizer_config.json": {"chat_template": "{% for message in messages %}{{ message['content'] }}"}}
THINKS: Final = {
    "tokenizer_config.json": {"chat_template": "{%- if tools %}<tool_call>{% endif %}<think>{{ messages }}"}
}
SEES: Final = {
    "chat_template.json": {"chat_template": "{% if content['type'] == 'image' %}<|vision_start|>{% endif %}"}
}

T: Final = "text"
TT: Final = "text tools"
TTR: Final = "text thinking reasoning tools"
TV: Final = "text vision"


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository and the right answers about it."""

    repo: str
    files: str
    gigabytes: float
    config: Mapping[str, object] = field(default_factory=dict)
    small: Mapping[str, object] = field(default_factory=dict)
    task: str | None = None
    container: str | None = "safetensors"
    quantization: str | None = None
    capabilities: str = T
    kind: str = "model"
    layers: int | None = None
    context: int | None = None
    family: str | None = None
    quants: str = ""
    pickles: int = 0
    remote_code: bool = False

    def paths(self) -> list[str]:
        """Return the listing's paths."""
        return [path for word in self.files.split() for path in _expand(word)]


def _expand(word: str) -> list[str]:
    """Return the names that a short one stands for."""
    choices = re.search(r"\{([^{}]*)\}", word)
    if choices:
        start, end = choices.span()
        return [path for part in choices[1].split(",") for path in _expand(word[:start] + part + word[end:])]
    shards = re.search(r"#(\d+)", word)
    if shards:
        count = int(shards[1])
        numbered = (f"{number:05d}-of-{count:05d}" for number in range(1, count + 1))
        return [word[: shards.start()] + number + word[shards.end() :] for number in numbered]
    return [word]


def llm(
    kind: str, layers: int, hidden: int, heads: int, kv: int, context: int, dtype: str = "bfloat16", **more: object
) -> dict[str, object]:
    """Return the fragment of a language model's ``config.json`` that its shape stands in."""
    name = "".join(part.capitalize() for part in kind.split("_"))
    return {
        "architectures": [f"{name}ForCausalLM"],
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "max_position_embeddings": context,
        "torch_dtype": dtype,
        **more,
    }


def awq(bits: int = 4, group: int = 128) -> dict[str, object]:
    """Return AutoAWQ's block."""
    return {"quant_method": "awq", "bits": bits, "group_size": group, "zero_point": True, "version": "gemm"}


def gptq(bits: int = 4, group: int = 128) -> dict[str, object]:
    """Return AutoGPTQ's block."""
    return {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group,
        "desc_act": False,
        "sym": True,
        "damp_percent": 0.01,
    }


def compressed(form: str, weights: Mapping[str, object], inputs: Mapping[str, object] | None) -> dict[str, object]:
    """Return llm-compressor's block."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


QWEN25_7B: Final = llm("qwen2", 28, 3584, 28, 4, 32768, vocab_size=152064)
LLAMA3_8B: Final = llm("llama", 32, 4096, 32, 8, 131072, vocab_size=128256)
LLAMA2_7B: Final = llm("llama", 32, 4096, 32, 32, 4096, "float16", vocab_size=32000)
MISTRAL_7B: Final = llm("mistral", 32, 4096, 32, 8, 32768, vocab_size=32768)
QWEN3_8B: Final = llm("qwen3", 36, 4096, 32, 8, 40960, vocab_size=151936)
FP8: Final = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
BNB4: Final = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "load_in_8bit": False,
}
W4A16: Final = compressed(
    "pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}, None
)
W8A8: Final = compressed(
    "int-quantized",
    {"num_bits": 8, "type": "int", "strategy": "channel"},
    {"num_bits": 8, "type": "int", "dynamic": True},
)
FP8_DYNAMIC: Final = compressed(
    "float-quantized",
    {"num_bits": 8, "type": "float", "strategy": "channel"},
    {"num_bits": 8, "type": "float", "dynamic": True},
)
QWEN_VL: Final = {
    **llm("qwen2_5_vl", 28, 3584, 28, 4, 128000, vocab_size=152064),
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "vision_config": {"depth": 32, "hidden_size": 1280, "patch_size": 14, "out_hidden_size": 3584},
    "image_token_id": 151655,
}
VL_FILES: Final = f"{LM} chat_template.json merges.txt preprocessor_config.json vocab.json"
THE_BLOKE: Final = "{Q2_K,Q3_K_L,Q3_K_M,Q3_K_S,Q4_0,Q4_K_M,Q4_K_S,Q5_0,Q5_K_M,Q5_K_S,Q6_K,Q8_0}"
THE_BLOKE_LABELS: Final = "q2_k q3_k_l q3_k_m q3_k_s q4_0 q4_k_m q4_k_s q5_0 q5_k_m q5_k_s q6_k q8_0"
DIFFUSERS: Final = (
    ".gitattributes README.md model_index.json scheduler/scheduler_config.json text_encoder/config.json tokenizer/vocab.json"
    " tokenizer/merges.txt tokenizer/tokenizer_config.json vae/config.json"
)
BERT: Final = {
    "architectures": ["BertModel"], "model_type": "bert", "num_hidden_layers": 12, "hidden_size": 768,
    "num_attention_heads": 12, "max_position_embeddings": 512, "vocab_size": 30522, "torch_dtype": "float32",
}  # fmt: skip
SENTENCE: Final = (
    "1_Pooling/config.json config_sentence_transformers.json modules.json sentence_bert_config.json README.md config.json"
    " special_tokens_map.json tokenizer.json tokenizer_config.json vocab.txt"
)

REPOSITORIES: Final = (
    # Qwen
    Repository("Qwen/Qwen2.5-7B-Instruct", f"{LM} LICENSE merges.txt vocab.json model-#4.safetensors model.safetensors.index.json", 15.2, QWEN25_7B, TOOLS, "text-generation", quantization="bf16", capabilities=TT, layers=28, context=32768, family="qwen2.5-7b-instruct"),
    Repository("Qwen/Qwen2.5-7B-Instruct-AWQ", f"{LM} LICENSE merges.txt vocab.json model-#2.safetensors model.safetensors.index.json", 5.6, {**QWEN25_7B, "torch_dtype": "float16", "quantization_config": awq()}, TOOLS, "text-generation", quantization="awq", capabilities=TT, layers=28, family="qwen2.5-7b-instruct"),
    Repository("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", f"{LM} LICENSE merges.txt vocab.json model-#2.safetensors model.safetensors.index.json", 5.6, {**QWEN25_7B, "torch_dtype": "float16", "quantization_config": gptq()}, TOOLS, "text-generation", quantization="gptq", capabilities=TT),
    Repository("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", f"{LM} model-#3.safetensors", 8.9, {**QWEN25_7B, "quantization_config": gptq(8)}, TOOLS, "text-generation", quantization="gptq", capabilities=TT),
    Repository("Qwen/Qwen2.5-7B-Instruct-GGUF", ".gitattributes LICENSE README.md qwen2.5-7b-instruct-{q2_k,q3_k_m}.gguf qwen2.5-7b-instruct-{fp16-#4,q4_0-#2,q4_k_m-#2,q5_0-#2,q5_k_m-#2,q6_k-#2,q8_0-#3}.gguf", 62.0, {}, {}, "text-generation", "gguf", family="qwen2.5-7b-instruct", quants="fp16 q2_k q3_k_m q4_0 q4_k_m q5_0 q5_k_m q6_k q8_0"),
    Repository("Qwen/Qwen2.5-VL-7B-Instruct", f"{VL_FILES} model-#5.safetensors model.safetensors.index.json", 16.6, QWEN_VL, SEES, "image-text-to-text", quantization="bf16", capabilities=TV, layers=28, context=128000),
    Repository("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", f"{VL_FILES} model-#2.safetensors model.safetensors.index.json", 6.9, {**QWEN_VL, "torch_dtype": "float16", "quantization_config": {**awq(), "modules_to_not_convert": ["visual"]}}, SEES, "image-text-to-text", quantization="awq", capabilities=TV, family="qwen2.5-vl-7b-instruct"),
    Repository("Qwen/Qwen3-8B", f"{LM} LICENSE merges.txt vocab.json model-#5.safetensors model.safetensors.index.json", 16.4, QWEN3_8B, THINKS, "text-generation", quantization="bf16", capabilities=TTR, layers=36, context=40960),
    Repository("Qwen/Qwen3-8B-FP8", f"{LM} LICENSE merges.txt vocab.json model-#2.safetensors model.safetensors.index.json", 9.4, {**QWEN3_8B, "quantization_config": FP8}, THINKS, "text-generation", quantization="fp8", capabilities=TTR, family="qwen3-8b"),
    Repository("Qwen/Qwen3-30B-A3B-Instruct-2507", f"{LM} merges.txt vocab.json model-#16.safetensors model.safetensors.index.json", 61.1, llm("qwen3_moe", 48, 2048, 32, 4, 262144, num_experts=128, num_experts_per_tok=8, head_dim=128), TOOLS, "text-generation", quantization="bf16", capabilities=TT, layers=48, context=262144),
    Repository("Qwen/Qwen3-Embedding-0.6B", f"{LM} 1_Pooling/config.json config_sentence_transformers.json modules.json merges.txt vocab.json model.safetensors", 1.2, llm("qwen3", 28, 1024, 16, 8, 32768), PLAIN, "feature-extraction", quantization="bf16", capabilities="text embedding", kind="sentence-transformer", layers=28),
    Repository("Qwen/Qwen2-Audio-7B-Instruct", f"{LM} merges.txt vocab.json preprocessor_config.json chat_template.json model-#5.safetensors model.safetensors.index.json", 16.8, {"architectures": ["Qwen2AudioForConditionalGeneration"], "model_type": "qwen2_audio", "audio_config": {"encoder_layers": 32}, "text_config": {"hidden_size": 4096, "num_hidden_layers": 32}, "torch_dtype": "bfloat16"}, {"chat_template.json": {"chat_template": "{% if 'audio_url' in content %}<|AUDIO|>"}}, "audio-text-to-text", quantization="bf16", capabilities="text audio", layers=32),
    Repository("Qwen/QwQ-32B-AWQ", f"{LM} merges.txt vocab.json model-#5.safetensors model.safetensors.index.json", 19.3, {**llm("qwen2", 64, 5120, 40, 8, 40960), "quantization_config": awq()}, THINKS, "text-generation", quantization="awq", capabilities=TTR, layers=64),
    Repository("Qwen/Qwen1.5-7B-Chat-GPTQ-Int4", f"{LM} LICENSE merges.txt vocab.json model.safetensors", 5.8, {**llm("qwen2", 32, 4096, 32, 32, 32768, "float16"), "quantization_config": gptq()}, PLAIN, "text-generation", quantization="gptq", layers=32),
    # Llama
    Repository("meta-llama/Llama-3.1-8B-Instruct", f"{LM} LICENSE USE_POLICY.md special_tokens_map.json model-#4.safetensors model.safetensors.index.json original/consolidated.00.pth original/params.json original/tokenizer.model", 32.1, LLAMA3_8B, TOOLS, "text-generation", quantization="bf16", capabilities=TT, layers=32, context=131072, pickles=1),
    Repository("meta-llama/Llama-3.2-11B-Vision-Instruct", f"{LM} chat_template.json preprocessor_config.json model-#5.safetensors model.safetensors.index.json original/consolidated.pth original/params.json", 42.7, {"architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama", "image_token_index": 128256, "text_config": {"num_hidden_layers": 40, "hidden_size": 4096, "max_position_embeddings": 131072, "num_attention_heads": 32}, "vision_config": {"image_size": 560, "patch_size": 14}, "torch_dtype": "bfloat16"}, {"chat_template.json": {"chat_template": "{%- if tools is not none %}{% if content['type'] == 'image' %}<|image|>"}}, "image-text-to-text", quantization="bf16", capabilities="text vision tools", layers=40, context=131072, pickles=1),
    Repository("meta-llama/Llama-2-7b-chat-hf", f"{LM} LICENSE.txt USE_POLICY.md tokenizer.model special_tokens_map.json model-#2.safetensors model.safetensors.index.json pytorch_model-#2.bin pytorch_model.bin.index.json", 27.0, LLAMA2_7B, PLAIN, "text-generation", quantization="fp16", layers=32, context=4096, pickles=2),
    Repository("meta-llama/Llama-2-7b", ".gitattributes LICENSE.txt README.md USE_POLICY.md checklist.chk consolidated.00.pth params.json tokenizer.model tokenizer_checklist.chk", 13.5, {}, {"params.json": {"dim": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": -1}}, "text-generation", "pytorch", layers=32, pickles=1),
    Repository("meta-llama/Llama-4-Scout-17B-16E-Instruct", f"{LM} chat_template.jinja preprocessor_config.json processor_config.json model-#50.safetensors model.safetensors.index.json", 217.0, {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "text_config": {"num_hidden_layers": 48, "hidden_size": 5120, "max_position_embeddings": 10485760, "num_attention_heads": 40, "num_local_experts": 16, "torch_dtype": "bfloat16"}, "vision_config": {"image_size": 336, "patch_size": 14}, "torch_dtype": "bfloat16"}, {"chat_template.jinja": "{%- if tools %}tool_calls{% endif %}{% if content['type'] == 'image' %}<|image|>"}, "image-text-to-text", quantization="bf16", capabilities="text vision tools", layers=48, context=10485760),
    # Mistral
    Repository("mistralai/Mistral-7B-Instruct-v0.3", f"{LM} consolidated.safetensors params.json tokenizer.model tokenizer.model.v3 model-#3.safetensors model.safetensors.index.json", 29.0, MISTRAL_7B, TOOLS, "text-generation", quantization="bf16", capabilities=TT, layers=32, context=32768),
    Repository("mistralai/Mistral-Small-3.2-24B-Instruct-2506", ".gitattributes README.md SYSTEM_PROMPT.txt config.json generation_config.json consolidated.safetensors model-#10.safetensors model.safetensors.index.json params.json preprocessor_config.json processor_config.json tekken.json chat_template.jinja", 96.1, {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "image_token_index": 10, "text_config": {"num_hidden_layers": 40, "hidden_size": 5120, "max_position_embeddings": 131072, "num_attention_heads": 32}, "vision_config": {"image_size": 1540, "patch_size": 14}, "torch_dtype": "bfloat16"}, {"chat_template.jinja": "{% if tools %}[AVAILABLE_TOOLS]tool_calls{% endif %}[IMG]"}, "image-text-to-text", quantization="bf16", capabilities="text vision tools", layers=40),
    Repository("mistralai/Pixtral-12B-2409", ".gitattributes README.md consolidated.safetensors params.json tekken.json", 25.4, {}, {"params.json": {"dim": 5120, "n_layers": 40, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "vocab_size": 131072, "vision_encoder": {"hidden_size": 1024, "image_size": 1024, "patch_size": 16}}}, "image-text-to-text", capabilities=TV, layers=40),
    Repository("mistralai/Mixtral-8x7B-Instruct-v0.1", f"{LM} tokenizer.model model-#19.safetensors model.safetensors.index.json consolidated.{{00,01,02}}.pt", 190.0, llm("mixtral", 32, 4096, 32, 8, 32768, num_local_experts=8, num_experts_per_tok=2), PLAIN, "text-generation", quantization="bf16", layers=32, pickles=3),
    Repository("mistralai/Voxtral-Mini-3B-2507", ".gitattributes README.md config.json consolidated.safetensors generation_config.json model-#2.safetensors model.safetensors.index.json params.json preprocessor_config.json tekken.json", 18.7, {"architectures": ["VoxtralForConditionalGeneration"], "model_type": "voxtral", "audio_config": {"num_hidden_layers": 32}, "audio_token_id": 24, "text_config": {"num_hidden_layers": 30, "hidden_size": 3072, "max_position_embeddings": 131072}, "torch_dtype": "bfloat16"}, {}, "audio-text-to-text", quantization="bf16", capabilities="text audio", layers=30),
    # Gemma
    Repository("google/gemma-2-9b-it", f"{LM} tokenizer.model special_tokens_map.json model-#4.safetensors model.safetensors.index.json", 18.5, llm("gemma2", 42, 3584, 16, 8, 8192, head_dim=256), PLAIN, "text-generation", quantization="bf16", layers=42, context=8192),
    Repository("google/gemma-3-4b-it", f"{LM} chat_template.json added_tokens.json preprocessor_config.json processor_config.json tokenizer.model model-#2.safetensors model.safetensors.index.json", 8.6, {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "image_token_index": 262144, "text_config": {"hidden_size": 2560, "num_hidden_layers": 34, "model_type": "gemma3_text", "sliding_window": 1024}, "vision_config": {"hidden_size": 1152, "image_size": 896, "num_hidden_layers": 27, "patch_size": 14}, "torch_dtype": "bfloat16"}, {"chat_template.json": {"chat_template": "{% if item['type'] == 'image' %}<start_of_image>"}}, "image-text-to-text", quantization="bf16", capabilities=TV, layers=34),
    Repository("google/gemma-3-4b-it-qat-q4_0-gguf", ".gitattributes README.md gemma-3-4b-it-q4_0.gguf mmproj-model-f16-4B.gguf", 4.0, {}, {}, "image-text-to-text", "gguf", "q4_0", TV, family="gemma-3-4b-it-qat", quants="q4_0"),
    Repository("google/gemma-7b", f"{LM} tokenizer.model gemma-7b.gguf model-#4.safetensors model.safetensors.index.json", 51.2, llm("gemma", 28, 3072, 16, 16, 8192), {}, "text-generation", quantization="bf16", layers=28, quants="unlabelled"),
    Repository("google/paligemma-3b-pt-224", f"{LM} tokenizer.model preprocessor_config.json model-#3.safetensors model.safetensors.index.json", 11.7, {"architectures": ["PaliGemmaForConditionalGeneration"], "model_type": "paligemma", "image_token_index": 257152, "text_config": {"num_hidden_layers": 18, "hidden_size": 2048}, "vision_config": {"patch_size": 14}, "torch_dtype": "float32"}, {}, "image-text-to-text", quantization="fp32", capabilities=TV, layers=18),
    Repository("google/embeddinggemma-300m", f"{SENTENCE} tokenizer.model 2_Dense/model.safetensors 2_Dense/config.json model.safetensors", 1.2, llm("gemma3_text", 24, 768, 3, 1, 2048, "float32"), {}, "sentence-similarity", quantization="fp32", capabilities="text embedding", kind="sentence-transformer", layers=24),
    # DeepSeek
    Repository("deepseek-ai/DeepSeek-V3", f"{LM} LICENSE-CODE LICENSE-MODEL configuration_deepseek.py modeling_deepseek.py inference/model.py figures/benchmark.png model-{{00001-of-000163,00002-of-000163}}.safetensors model.safetensors.index.json", 688.6, {**llm("deepseek_v3", 61, 7168, 128, 128, 163840, n_routed_experts=256, num_experts_per_tok=8), "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config", "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM"}, "quantization_config": FP8}, TOOLS, "text-generation", quantization="fp8", capabilities=TT, layers=61, context=163840, remote_code=True),
    Repository("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", f"{LM} LICENSE model-{{00001-of-000002,00002-of-000002}}.safetensors model.safetensors.index.json figures/benchmark.jpg", 15.2, llm("qwen2", 28, 3584, 28, 4, 131072), {"tokenizer_config.json": {"chat_template": "{% if 'tool_calls' in message %}{% endif %}<think>"}}, "text-generation", quantization="bf16", capabilities=TTR, layers=28),
    Repository("deepseek-ai/deepseek-vl2-tiny", ".gitattributes README.md config.json processor_config.json special_tokens_map.json tokenizer.json tokenizer_config.json model-#1.safetensors model.safetensors.index.json", 6.7, {"architectures": ["DeepseekVLV2ForCausalLM"], "model_type": "deepseek_vl_v2", "language_config": {"num_hidden_layers": 12, "hidden_size": 1280, "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}, "vision_config": {"layers": 27, "image_size": 384, "patch_size": 14}, "torch_dtype": "bfloat16"}, {}, "image-text-to-text", quantization="bf16", capabilities=TV, layers=12, context=4096),
    Repository("deepseek-ai/deepseek-coder-6.7b-instruct", f"{LM} LICENSE model-#2.safetensors model.safetensors.index.json pytorch_model-#2.bin pytorch_model.bin.index.json", 27.0, llm("llama", 32, 4096, 32, 32, 16384), PLAIN, "text-generation", quantization="bf16", layers=32, pickles=2),
    # Phi, gpt-oss and other makers
    Repository("microsoft/Phi-3.5-mini-instruct", f"{LM} LICENSE configuration_phi3.py modeling_phi3.py sample_finetune.py tokenizer.model model-#2.safetensors model.safetensors.index.json", 7.6, {**llm("phi3", 32, 3072, 32, 32, 131072), "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}}, PLAIN, "text-generation", quantization="bf16", layers=32, context=131072, remote_code=True),
    Repository("microsoft/Phi-3.5-vision-instruct", f"{LM} LICENSE configuration_phi3_v.py modeling_phi3_v.py processing_phi3_v.py preprocessor_config.json model-#2.safetensors model.safetensors.index.json", 8.3, {**llm("phi3_v", 32, 3072, 32, 32, 131072), "auto_map": {"AutoConfig": "configuration_phi3_v.Phi3VConfig"}, "img_processor": {"name": "clip_vision_model"}}, PLAIN, "image-text-to-text", quantization="bf16", capabilities=TV, layers=32, remote_code=True),
    Repository("microsoft/Phi-3-mini-4k-instruct-gguf", ".gitattributes LICENSE README.md Modelfile_fp16 Modelfile_q4 Phi-3-mini-4k-instruct-{fp16,q4}.gguf", 10.0, {}, {}, "text-generation", "gguf", quants="fp16 q4"),
    Repository("microsoft/Phi-3-mini-4k-instruct-onnx", ".gitattributes README.md config.json cpu_and_mobile/cpu-int4-rtn-block-32/{genai_config.json,tokenizer.json,phi3-mini-4k-instruct-cpu-int4-rtn-block-32.onnx,phi3-mini-4k-instruct-cpu-int4-rtn-block-32.onnx.data}", 2.7, {"model_type": "phi3"}, {}, "text-generation", "onnx", "int4"),
    Repository("microsoft/phi-4", f"{LM} LICENSE merges.txt vocab.json special_tokens_map.json model-#6.safetensors model.safetensors.index.json", 29.3, llm("phi3", 40, 5120, 40, 10, 16384), PLAIN, "text-generation", quantization="bf16", layers=40),
    Repository("microsoft/DialoGPT-medium", ".gitattributes README.md config.json flax_model.msgpack generation_config.json generation_config_for_conversational.json merges.txt pytorch_model.bin rust_model.ot tf_model.h5 tokenizer_config.json vocab.json", 6.1, {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": 1024, "n_embd": 1024, "n_head": 16, "n_layer": 24, "n_positions": 1024, "vocab_size": 50257}, PLAIN, "text-generation", "pytorch", layers=24, context=1024, pickles=2, family="dialogpt-medium"),
    Repository("microsoft/bitnet-b1.58-2B-4T-gguf", ".gitattributes LICENSE README.md ggml-model-i2_s.gguf", 1.2, {}, {}, "text-generation", "gguf", "i2_s", quants="i2_s"),
    Repository("openai/gpt-oss-20b", f"{LM} LICENSE USAGE_POLICY chat_template.jinja special_tokens_map.json model-{{00000-of-00002,00001-of-00002,00002-of-00002}}.safetensors model.safetensors.index.json original/config.json original/dtypes.json original/model.safetensors metal/model.bin", 41.3, {**llm("gpt_oss", 24, 2880, 64, 8, 131072, head_dim=64, num_local_experts=32), "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.embed_tokens"]}}, {"chat_template.jinja": "{%- if tools %}reasoning_effort thinking{{ messages }}"}, "text-generation", quantization="mxfp4", capabilities=TTR, layers=24, context=131072),
    Repository("ggml-org/gpt-oss-20b-GGUF", ".gitattributes README.md gpt-oss-20b-mxfp4.gguf", 12.1, {}, {}, "text-generation", "gguf", "mxfp4", family="gpt-oss-20b", quants="mxfp4"),
    Repository("unsloth/gpt-oss-20b-GGUF", ".gitattributes README.md config.json params template gpt-oss-20b-{F16,Q2_K_L,Q3_K_M,Q4_K_M,Q8_0,UD-Q4_K_XL}.gguf", 71.0, {"model_type": "gpt_oss"}, {}, "text-generation", "gguf", quants="fp16 q2_k_l q3_k_m q4_k_m q8_0 ud-q4_k_xl"),
    Repository("HuggingFaceTB/SmolLM2-1.7B-Instruct", f"{LM} merges.txt vocab.json model.safetensors onnx/model.onnx onnx/model_{{bnb4,fp16,int8,q4,q4f16,quantized,uint8}}.onnx runs/Jan/events.out.tfevents.1 training_args.bin", 14.0, llm("llama", 24, 2048, 32, 32, 8192), TOOLS, "text-generation", quantization="bf16", capabilities=TT, layers=24, pickles=1),
    Repository("ibm-granite/granite-3.1-8b-instruct", f"{LM} merges.txt vocab.json model-#4.safetensors model.safetensors.index.json", 16.3, llm("granite", 40, 4096, 32, 8, 131072), TOOLS, "text-generation", quantization="bf16", capabilities=TT, layers=40),
    Repository("tiiuae/falcon-7b-instruct", f"{LM} configuration_falcon.py modeling_falcon.py handler.py special_tokens_map.json pytorch_model-#2.bin pytorch_model.bin.index.json model-#2.safetensors model.safetensors.index.json coreml/text-generation/falcon-7b-64-float32.mlpackage/Data/com.apple.CoreML/weights/weight.bin", 30.0, {"architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "torch_dtype": "bfloat16", "auto_map": {"AutoConfig": "configuration_falcon.FalconConfig"}}, {}, "text-generation", quantization="bf16", layers=32, pickles=2, remote_code=True),
    Repository("nvidia/Llama-3.1-8B-Instruct-FP8", f"{LM} hf_quant_config.json model-#2.safetensors model.safetensors.index.json", 9.1, LLAMA3_8B, {**TOOLS, "hf_quant_config.json": {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}}, "text-generation", quantization="fp8", capabilities=TT),
    Repository("nvidia/DeepSeek-R1-FP4", f"{LM} hf_quant_config.json model-#80.safetensors model.safetensors.index.json", 424.0, llm("deepseek_v3", 61, 7168, 128, 128, 163840), {**THINKS, "hf_quant_config.json": {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16, "exclude_modules": ["lm_head"]}}}, "text-generation", quantization="nvfp4", capabilities=TTR, layers=61),
    Repository("moonshotai/Kimi-K2-Thinking", f"{LM} LICENSE chat_template.jinja configuration_deepseek.py modeling_deepseek.py tiktoken.model tokenization_kimi.py model-{{00001-of-000062,00002-of-000062}}.safetensors model.safetensors.index.json", 594.0, {**llm("kimi_k2", 61, 7168, 64, 64, 262144), "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "quantization_config": compressed("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}, None)}, {"chat_template.jinja": "{%- if tools -%}<|tool_calls_section_begin|>{{ reasoning_content }}<think>"}, "text-generation", quantization="w4a16", capabilities=TTR, layers=61, remote_code=True),
    # Vision, speech, embeddings
    Repository("microsoft/Florence-2-large", f"{LM} CODE_OF_CONDUCT.md LICENSE SECURITY.md SUPPORT.md configuration_florence2.py modeling_florence2.py processing_florence2.py preprocessor_config.json model.safetensors pytorch_model.bin vocab.json", 3.1, {"architectures": ["Florence2ForConditionalGeneration"], "model_type": "florence2", "auto_map": {"AutoConfig": "configuration_florence2.Florence2LanguageConfig"}, "projection_dim": 1024, "text_config": {"d_model": 1024, "encoder_layers": 12, "num_hidden_layers": 12, "max_position_embeddings": 4096}, "vision_config": {"model_type": "davit", "patch_size": [7, 3, 3, 3], "projection_dim": 1024}, "torch_dtype": "float16", "vocab_size": 51289}, {}, "image-text-to-text", quantization="fp16", capabilities=TV, layers=12, context=4096, pickles=1, remote_code=True, family="florence-2-large"),
    Repository("google/siglip-base-patch16-256", ".gitattributes README.md config.json model.safetensors preprocessor_config.json special_tokens_map.json spiece.model tokenizer.json tokenizer_config.json", 0.8, {"architectures": ["SiglipModel"], "model_type": "siglip", "text_config": {"hidden_size": 768, "num_hidden_layers": 12}, "vision_config": {"image_size": 256, "hidden_size": 768}, "torch_dtype": "float32"}, {}, "zero-shot-image-classification", quantization="fp32", capabilities="text vision embedding", family="siglip-base-patch16-256"),
    Repository("openai/clip-vit-large-patch14", ".gitattributes README.md config.json flax_model.msgpack merges.txt model.safetensors preprocessor_config.json pytorch_model.bin special_tokens_map.json tf_model.h5 tokenizer.json tokenizer_config.json vocab.json", 6.8, {"architectures": ["CLIPModel"], "model_type": "clip", "text_config": {"num_hidden_layers": 12}, "vision_config": {"image_size": 224, "patch_size": 14, "num_hidden_layers": 24}, "projection_dim": 768, "torch_dtype": "float32"}, {}, "zero-shot-image-classification", quantization="fp32", capabilities="text vision embedding", pickles=1),
    Repository("openai/whisper-large-v3", f"{LM} added_tokens.json flax_model.msgpack merges.txt model.safetensors model.fp32-{{00001-of-00002,00002-of-00002}}.safetensors model.safetensors.index.fp32.json normalizer.json preprocessor_config.json pytorch_model.bin vocab.json", 24.7, {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 1280, "decoder_layers": 32, "num_hidden_layers": 32, "num_mel_bins": 128, "max_target_positions": 448, "vocab_size": 51866, "torch_dtype": "float16"}, {}, "automatic-speech-recognition", quantization="fp16", capabilities="text audio", layers=32, pickles=1),
    Repository("Systran/faster-whisper-large-v3", ".gitattributes README.md config.json model.bin preprocessor_config.json tokenizer.json vocabulary.json", 3.1, {"alignment_heads": [[7, 0]], "suppress_ids": [1]}, {}, "automatic-speech-recognition", "ctranslate2", capabilities="text audio", pickles=1),
    Repository("facebook/wav2vec2-base-960h", ".gitattributes README.md config.json feature_extractor_config.json model.safetensors preprocessor_config.json pytorch_model.bin special_tokens_map.json tf_model.h5 tokenizer_config.json vocab.json", 1.1, {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12}, {}, "automatic-speech-recognition", capabilities="audio", layers=12, pickles=1),
    Repository("google-bert/bert-base-uncased", ".gitattributes LICENSE README.md config.json coreml/fill-mask/float32_model.mlpackage/Data/com.apple.CoreML/weights/weight.bin flax_model.msgpack model.onnx model.safetensors pytorch_model.bin rust_model.ot tf_model.h5 tokenizer.json tokenizer_config.json vocab.txt", 3.4, {k: v for k, v in BERT.items() if k != "torch_dtype"}, {}, "fill-mask", capabilities="text embedding", layers=12, context=512, pickles=2),
    Repository("BAAI/bge-small-en-v1.5", f"{SENTENCE} model.safetensors onnx/model.onnx pytorch_model.bin", 0.4, {**BERT, "hidden_size": 384}, {}, "feature-extraction", quantization="fp32", capabilities="text embedding", kind="sentence-transformer", layers=12, pickles=1),
    Repository("sentence-transformers/all-MiniLM-L6-v2", f"{SENTENCE} data_config.json train_script.py rust_model.ot tf_model.h5 model.safetensors pytorch_model.bin onnx/model.onnx onnx/model_{{O1,O2,qint8_avx512,quint8_avx2}}.onnx openvino/openvino_model.bin openvino/openvino_model.xml openvino/openvino_model_qint8_quantized.bin", 0.9, {**BERT, "num_hidden_layers": 6, "torch_dtype": None}, {}, "sentence-similarity", capabilities="text embedding", kind="sentence-transformer", layers=6, pickles=2),
    Repository("BAAI/bge-reranker-v2-m3", ".gitattributes README.md assets/a.png config.json model.safetensors sentencepiece.bpe.model special_tokens_map.json tokenizer.json tokenizer_config.json", 2.3, {"architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta", "num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "torch_dtype": "float32"}, {}, "text-classification", quantization="fp32", layers=24),
    Repository("nomic-ai/nomic-embed-text-v1.5-GGUF", ".gitattributes README.md nomic-embed-text-v1.5.{Q2_K,Q4_K_M,Q8_0,f16,f32}.gguf", 1.2, {}, {}, "sentence-similarity", "gguf", capabilities="text embedding", quants="fp16 fp32 q2_k q4_k_m q8_0"),
    Repository("google/vit-base-patch16-224", ".gitattributes README.md config.json flax_model.msgpack model.safetensors preprocessor_config.json pytorch_model.bin tf_model.h5", 1.4, {"architectures": ["ViTForImageClassification"], "model_type": "vit", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "image_size": 224}, {}, "image-classification", capabilities="vision", layers=12, pickles=1),
    Repository("llava-hf/llava-v1.6-mistral-7b-hf", f"{LM} chat_template.json preprocessor_config.json processor_config.json model-#4.safetensors model.safetensors.index.json", 15.1, {"architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next", "image_token_index": 32000, "text_config": {"num_hidden_layers": 32, "max_position_embeddings": 32768}, "vision_config": {"image_size": 336}, "torch_dtype": "float16"}, SEES, "image-text-to-text", quantization="fp16", capabilities=TV, layers=32),
    Repository("OpenGVLab/InternVL2_5-8B", f"{LM} configuration_internvl_chat.py modeling_internvl_chat.py preprocessor_config.json tokenizer.model model-#4.safetensors model.safetensors.index.json examples/image1.jpg", 16.2, {"architectures": ["InternVLChatModel"], "model_type": "internvl_chat", "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}, "llm_config": {"model_type": "internlm2", "num_hidden_layers": 32, "hidden_size": 4096, "max_position_embeddings": 32768, "torch_dtype": "bfloat16"}, "vision_config": {"image_size": 448, "patch_size": 14}, "torch_dtype": "bfloat16"}, PLAIN, "image-text-to-text", quantization="bf16", capabilities=TV, layers=32, context=32768, remote_code=True),
    # Diffusion
    Repository("stabilityai/stable-diffusion-xl-base-1.0", f"{DIFFUSERS} LICENSE.md sd_xl_base_1.0.safetensors sd_xl_base_1.0_0.9vae.safetensors sd_xl_offset_example-lora_1.0.safetensors text_encoder/{{model.fp16.safetensors,model.safetensors,model.onnx,flax_model.msgpack,openvino_model.bin}} text_encoder_2/{{model.fp16.safetensors,model.safetensors}} unet/{{config.json,diffusion_pytorch_model.fp16.safetensors,diffusion_pytorch_model.safetensors,model.onnx,model.onnx_data}} vae/{{diffusion_pytorch_model.fp16.safetensors,diffusion_pytorch_model.safetensors}}", 76.8, {}, {"model_index.json": {"_class_name": "StableDiffusionXLPipeline"}}, "text-to-image", capabilities="", kind="pipeline"),
    Repository("black-forest-labs/FLUX.1-dev", f"{DIFFUSERS} LICENSE.md ae.safetensors flux1-dev.safetensors text_encoder/model.safetensors text_encoder_2/model-#2.safetensors text_encoder_2/model.safetensors.index.json transformer/config.json transformer/diffusion_pytorch_model-#3.safetensors transformer/diffusion_pytorch_model.safetensors.index.json vae/diffusion_pytorch_model.safetensors", 57.9, {}, {"model_index.json": {"_class_name": "FluxPipeline"}}, "text-to-image", capabilities="", kind="pipeline"),
    Repository("city96/FLUX.1-dev-gguf", ".gitattributes LICENSE.md README.md flux1-dev-{F16,Q2_K,Q3_K_S,Q4_0,Q4_1,Q4_K_S,Q5_0,Q5_1,Q5_K_S,Q6_K,Q8_0}.gguf", 98.0, {}, {}, "text-to-image", "gguf", capabilities="", quants="fp16 q2_k q3_k_s q4_0 q4_1 q4_k_s q5_0 q5_1 q5_k_s q6_k q8_0"),
    Repository("Kijai/flux-fp8", ".gitattributes README.md flux1-dev-fp8-e4m3fn.safetensors", 11.9, {}, {}, "text-to-image", quantization="fp8", capabilities=""),
    Repository("stable-diffusion-v1-5/stable-diffusion-v1-5", f"{DIFFUSERS} safety_checker/{{config.json,model.safetensors,pytorch_model.bin}} text_encoder/{{model.safetensors,pytorch_model.bin}} unet/{{config.json,diffusion_pytorch_model.bin,diffusion_pytorch_model.safetensors}} v1-5-pruned.ckpt v1-5-pruned.safetensors vae/{{diffusion_pytorch_model.bin,diffusion_pytorch_model.safetensors}}", 44.0, {}, {"model_index.json": {"_class_name": "StableDiffusionPipeline"}}, "text-to-image", capabilities="", kind="pipeline", pickles=5),
    Repository("latent-consistency/lcm-lora-sdxl", ".gitattributes README.md image.png pytorch_lora_weights.safetensors", 0.4, {}, {}, "text-to-image", capabilities="", kind="adapter"),
    Repository("predibase/customer_support", ".gitattributes README.md adapter_config.json adapter_model.safetensors", 0.1, {}, {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "mistralai/Mistral-7B-v0.1"}}, "text-generation", kind="adapter"),
    # TheBloke
    Repository("TheBloke/Mistral-7B-Instruct-v0.2-GGUF", f".gitattributes README.md config.json mistral-7b-instruct-v0.2.{THE_BLOKE}.gguf", 54.0, {"model_type": "mistral"}, {}, "text-generation", "gguf", family="mistral-7b-instruct-v0.2", quants=THE_BLOKE_LABELS),
    Repository("TheBloke/Mixtral-8x7B-v0.1-GGUF", ".gitattributes README.md config.json mixtral-8x7b-v0.1.{Q2_K,Q4_K_M,Q8_0}.gguf", 91.0, {"model_type": "mixtral"}, {}, "text-generation", "gguf", quants="q2_k q4_k_m q8_0"),
    Repository("TheBloke/Llama-2-70B-Chat-GGUF", ".gitattributes README.md config.json llama-2-70b-chat.{Q4_K_M,Q5_K_M}.gguf llama-2-70b-chat.Q6_K.gguf-split-{a,b} llama-2-70b-chat.Q8_0.gguf-split-{a,b}", 220.0, {"model_type": "llama"}, {}, "text-generation", "gguf", quants="q4_k_m q5_k_m q6_k q8_0"),
    Repository("TheBloke/Llama-2-7B-Chat-GGML", ".gitattributes README.md config.json llama-2-7b-chat.ggmlv3.{q2_K,q4_0,q4_K_M,q8_0}.bin", 20.0, {"model_type": "llama"}, {}, "text-generation", "ggml", pickles=4),
    Repository("TheBloke/Mistral-7B-Instruct-v0.2-AWQ", f"{LM} quant_config.json special_tokens_map.json tokenizer.model model.safetensors", 4.2, {**MISTRAL_7B, "torch_dtype": "float16", "quantization_config": awq()}, {**PLAIN, "quant_config.json": {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}}, "text-generation", quantization="awq", layers=32, family="mistral-7b-instruct-v0.2"),
    Repository("TheBloke/Llama-2-13B-chat-AWQ", f"{LM} quant_config.json tokenizer.model model-#1.safetensors", 7.3, llm("llama", 40, 5120, 40, 40, 4096, "float16"), {**PLAIN, "quant_config.json": {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}}, "text-generation", quantization="awq", layers=40),
    Repository("TheBloke/Llama-2-7B-Chat-GPTQ", f"{LM} LICENSE.txt Notice USE_POLICY.md quantize_config.json tokenizer.model model.safetensors", 3.9, LLAMA2_7B, {**PLAIN, "quantize_config.json": {"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": False, "sym": True}}, "text-generation", quantization="gptq"),
    Repository("TheBloke/vicuna-13B-v1.5-16K-GPTQ", f"{LM} tokenizer.model quantize_config.json model.safetensors", 7.3, llm("llama", 40, 5120, 40, 40, 4096, "float16"), {"quantize_config.json": {"bits": 4, "group_size": 128, "desc_act": True, "model_file_base_name": "model"}}, "text-generation", quantization="gptq"),
    # bartowski, unsloth, mradermacher and other packagers of GGUF
    Repository("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", ".gitattributes README.md Meta-Llama-3.1-8B-Instruct.imatrix Meta-Llama-3.1-8B-Instruct-{IQ2_M,IQ3_M,IQ4_XS,Q2_K_L,Q3_K_XL,Q4_0_4_4,Q4_K_L,Q4_K_M,Q5_K_L,Q6_K,Q6_K_L,Q8_0,f32}.gguf", 110.0, {}, {}, "text-generation", "gguf", family="meta-llama-3.1-8b-instruct", quants="fp32 iq2_m iq3_m iq4_xs q2_k_l q3_k_xl q4_0_4_4 q4_k_l q4_k_m q5_k_l q6_k q6_k_l q8_0"),
    Repository("bartowski/Llama-3.3-70B-Instruct-GGUF", ".gitattributes README.md Llama-3.3-70B-Instruct.imatrix Llama-3.3-70B-Instruct-{IQ1_M,Q4_K_M,Q4_0}.gguf Llama-3.3-70B-Instruct-{Q8_0/Llama-3.3-70B-Instruct-Q8_0,f16/Llama-3.3-70B-Instruct-f16}-#4.gguf", 330.0, {}, {}, "text-generation", "gguf", quants="fp16 iq1_m q4_0 q4_k_m q8_0"),
    Repository("bartowski/google_gemma-3-12b-it-GGUF", ".gitattributes README.md google_gemma-3-12b-it.imatrix google_gemma-3-12b-it-{Q4_K_M,bf16}.gguf mmproj-google_gemma-3-12b-it-{bf16,f16,f32}.gguf", 35.0, {}, {}, "image-text-to-text", "gguf", capabilities=TV, family="google-gemma-3-12b-it", quants="bf16 q4_k_m"),
    Repository("unsloth/DeepSeek-R1-GGUF", ".gitattributes README.md config.json DeepSeek-R1-UD-{IQ1_S/DeepSeek-R1-UD-IQ1_S,IQ1_M/DeepSeek-R1-UD-IQ1_M}-#3.gguf DeepSeek-R1-Q4_K_M/DeepSeek-R1-Q4_K_M-#9.gguf DeepSeek-R1-BF16/DeepSeek-R1.BF16-#30.gguf", 1900.0, {"model_type": "deepseek_v3"}, {}, "text-generation", "gguf", capabilities="text thinking reasoning", family="deepseek-r1", quants="bf16 q4_k_m ud-iq1_m ud-iq1_s"),
    Repository("unsloth/Qwen3-30B-A3B-GGUF", ".gitattributes README.md config.json imatrix_unsloth.dat params template Qwen3-30B-A3B-{IQ4_NL,Q4_K_M,UD-IQ1_S,UD-Q4_K_XL,UD-Q8_K_XL}.gguf BF16/Qwen3-30B-A3B-BF16-#2.gguf", 190.0, {"model_type": "qwen3_moe"}, {}, "text-generation", "gguf", quants="bf16 iq4_nl q4_k_m ud-iq1_s ud-q4_k_xl ud-q8_k_xl"),
    Repository("unsloth/Llama-3.2-3B-Instruct-bnb-4bit", f"{LM} special_tokens_map.json model.safetensors", 2.2, {**llm("llama", 28, 3072, 24, 8, 131072), "quantization_config": BNB4}, TOOLS, "text-generation", quantization="bnb-4bit", capabilities=TT, layers=28, family="llama-3.2-3b-instruct"),
    Repository("unsloth/Qwen2.5-VL-7B-Instruct-unsloth-bnb-4bit", f"{VL_FILES} model-#2.safetensors model.safetensors.index.json", 7.0, {**QWEN_VL, "quantization_config": {**BNB4, "_load_in_4bit": True}}, SEES, "image-text-to-text", quantization="bnb-4bit", capabilities=TV),
    Repository("mradermacher/Mistral-Nemo-Instruct-2407-i1-GGUF", ".gitattributes README.md imatrix.dat Mistral-Nemo-Instruct-2407.i1-{IQ1_S,IQ3_XXS,Q2_K,Q4_K_M,Q6_K}.gguf", 40.0, {}, {}, "text-generation", "gguf", quants="i1-iq1_s i1-iq3_xxs i1-q2_k i1-q4_k_m i1-q6_k"),
    Repository("mradermacher/Meta-Llama-3-120B-Instruct-GGUF", ".gitattributes README.md Meta-Llama-3-120B-Instruct.Q2_K.gguf Meta-Llama-3-120B-Instruct.Q4_K_S.gguf.part{1,2}of2 Meta-Llama-3-120B-Instruct.Q8_0.gguf.part{1,2,3}of3", 250.0, {}, {}, "text-generation", "gguf", quants="q2_k q4_k_s q8_0"),
    Repository("ggml-org/SmolVLM2-2.2B-Instruct-GGUF", ".gitattributes README.md SmolVLM2-2.2B-Instruct-{Q4_K_M,Q8_0,f16}.gguf mmproj-SmolVLM2-2.2B-Instruct-{Q8_0,f16}.gguf", 9.0, {}, {}, "image-text-to-text", "gguf", capabilities=TV, quants="fp16 q4_k_m q8_0"),
    Repository("lmstudio-community/Qwen2.5-7B-Instruct-GGUF", ".gitattributes README.md Qwen2.5-7B-Instruct-{Q3_K_L,Q4_K_M,Q6_K,Q8_0}.gguf", 23.0, {}, {}, "text-generation", "gguf", quants="q3_k_l q4_k_m q6_k q8_0"),
    Repository("someone/Llama-3.2-1B-Instruct-Q4_K_M-GGUF", ".gitattributes README.md llama-3.2-1b-instruct-q4_k_m.gguf", 0.8, {}, {}, "text-generation", "gguf", "q4_k_m", family="llama-3.2-1b-instruct", quants="q4_k_m"),
    # casperhansen, hugging-quants, RedHatAI and neuralmagic
    Repository("casperhansen/llama-3-8b-instruct-awq", f"{LM} special_tokens_map.json model-#2.safetensors model.safetensors.index.json", 5.7, {**llm("llama", 32, 4096, 32, 8, 8192, "float16"), "quantization_config": awq()}, PLAIN, "text-generation", quantization="awq", layers=32, context=8192, family="llama-3-8b-instruct"),
    Repository("casperhansen/mixtral-instruct-awq", f"{LM} tokenizer.model model-#3.safetensors model.safetensors.index.json", 24.7, {**llm("mixtral", 32, 4096, 32, 8, 32768, "float16"), "quantization_config": awq()}, PLAIN, "text-generation", quantization="awq"),
    Repository("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", f"{LM} special_tokens_map.json model-#2.safetensors model.safetensors.index.json", 5.7, {**LLAMA3_8B, "torch_dtype": "float16", "quantization_config": awq()}, TOOLS, "text-generation", quantization="awq", capabilities=TT),
    Repository("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", f"{LM} recipe.yaml special_tokens_map.json model-#2.safetensors model.safetensors.index.json", 5.7, {**LLAMA3_8B, "quantization_config": W4A16}, {**TOOLS, "recipe.yaml": "quant_stage:\n  quant_modifiers:\n    GPTQModifier:\n      scheme: W4A16\n      group_size: 128\n"}, "text-generation", quantization="w4a16", capabilities=TT),
    Repository("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", f"{LM} recipe.yaml model-#2.safetensors model.safetensors.index.json", 9.1, {**LLAMA3_8B, "quantization_config": W8A8}, {**TOOLS, "recipe.yaml": "GPTQModifier:\n  scheme: W8A8\n"}, "text-generation", quantization="w8a8", capabilities=TT),
    Repository("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", f"{LM} recipe.yaml model-#2.safetensors model.safetensors.index.json", 9.1, {**LLAMA3_8B, "quantization_config": FP8_DYNAMIC}, {**TOOLS, "recipe.yaml": "QuantizationModifier:\n  scheme: FP8_DYNAMIC\n"}, "text-generation", quantization="fp8", capabilities=TT),
    Repository("neuralmagic/Meta-Llama-3-8B-Instruct-FP8", f"{LM} model-#2.safetensors model.safetensors.index.json", 9.1, {**llm("llama", 32, 4096, 32, 8, 8192), "quantization_config": {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}}, PLAIN, "text-generation", quantization="fp8"),
    Repository("RedHatAI/Qwen3-8B-NVFP4", f"{LM} recipe.yaml merges.txt vocab.json model-#2.safetensors model.safetensors.index.json", 6.5, {**QWEN3_8B, "quantization_config": compressed("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, {"num_bits": 4, "type": "float"})}, THINKS, "text-generation", quantization="nvfp4", capabilities=TTR),
    Repository("neuralmagic/Mistral-7B-Instruct-v0.3-GPTQ-4bit", f"{LM} quantize_config.json tokenizer.model model.safetensors", 4.2, {**MISTRAL_7B, "quantization_config": gptq()}, {**PLAIN, "quantize_config.json": {"bits": 4, "group_size": 128, "quant_method": "gptq", "checkpoint_format": "gptq"}}, "text-generation", quantization="gptq"),
    # MLX, EXL2, EXL3 and the rest of the schemes
    Repository("mlx-community/Llama-3.2-3B-Instruct-4bit", f"{LM} special_tokens_map.json model.safetensors model.safetensors.index.json", 1.8, {**llm("llama", 28, 3072, 24, 8, 131072), "quantization": {"group_size": 64, "bits": 4}, "quantization_config": {"group_size": 64, "bits": 4}}, TOOLS, "text-generation", "mlx", "4bit", TT, layers=28, family="llama-3.2-3b-instruct"),
    Repository("mlx-community/Qwen2.5-VL-7B-Instruct-8bit", f"{VL_FILES} model-#2.safetensors model.safetensors.index.json", 9.6, {**QWEN_VL, "quantization": {"group_size": 64, "bits": 8}}, SEES, "image-text-to-text", "mlx", "8bit", TV),
    Repository("mlx-community/gpt-oss-20b-MXFP4-Q8", f"{LM} chat_template.jinja model-#3.safetensors model.safetensors.index.json", 12.1, {**llm("gpt_oss", 24, 2880, 64, 8, 131072), "quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4", "model.embed_tokens": {"group_size": 64, "bits": 8}}}, {"chat_template.jinja": "{%- if tools %}reasoning_effort thinking"}, "text-generation", "mlx", "mxfp4", TTR),
    Repository("mlx-community/Mistral-7B-Instruct-v0.2", ".gitattributes README.md config.json tokenizer.model weights.npz", 14.5, {"model_type": "mistral", "dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8}, {}, "text-generation", "mlx", layers=32),
    Repository("turboderp/Llama-3.1-8B-Instruct-exl2", f"{LM} model.safetensors measurement.json", 4.7, {**LLAMA3_8B, "quantization_config": {"quant_method": "exl2", "version": "0.1.8", "bits": 4.0, "head_bits": 6, "calibration": {"rows": 115}}}, TOOLS, "text-generation", quantization="exl2", capabilities=TT),
    Repository("turboderp/Qwen3-8B-exl3", f"{LM} model.safetensors quantization_config.json", 5.6, {**QWEN3_8B, "quantization_config": {"quant_method": "exl3", "version": "0.0.1", "bits": 4.0, "head_bits": 6}}, {**THINKS, "quantization_config.json": {"tensor_storage": {}}}, "text-generation", quantization="exl3", capabilities=TTR),
    Repository("mobiuslabsgmbh/Llama-3.1-8b-instruct_4bitgs64_hqq_hf", f"{LM} special_tokens_map.json model-#2.safetensors model.safetensors.index.json", 6.1, {**LLAMA3_8B, "quantization_config": {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64, "axis": 1}}, "skip_modules": ["lm_head"]}}, TOOLS, "text-generation", quantization="hqq", capabilities=TT),
    Repository("pytorch/Qwen3-8B-INT4", f"{LM} merges.txt vocab.json pytorch_model-#2.bin pytorch_model.bin.index.json", 6.2, {**QWEN3_8B, "quantization_config": {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 128}}}}}, THINKS, "text-generation", "pytorch", "torchao", TTR, pickles=2),
    Repository("ISTA-DASLab/Meta-Llama-3.1-8B-Instruct-AQLM-PV-2Bit-1x16-hf", f"{LM} model.safetensors", 4.1, {**LLAMA3_8B, "quantization_config": {"quant_method": "aqlm", "nbits_per_codebook": 16, "num_codebooks": 1}}, TOOLS, "text-generation", quantization="aqlm", capabilities=TT),
    Repository("Intel/Qwen2.5-7B-Instruct-int4-inc", f"{LM} quantization_config.json model-#2.safetensors model.safetensors.index.json", 5.6, {**QWEN25_7B, "quantization_config": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True, "packing_format": "auto_round:auto_gptq"}}, TOOLS, "text-generation", quantization="autoround", capabilities=TT),
    Repository("OpenVINO/Phi-3-mini-4k-instruct-int4-ov", ".gitattributes README.md config.json generation_config.json openvino_model.bin openvino_model.xml openvino_tokenizer.bin openvino_tokenizer.xml openvino_detokenizer.bin tokenizer.json tokenizer_config.json", 2.3, llm("phi3", 32, 3072, 32, 32, 4096), PLAIN, "text-generation", "openvino", "int4", layers=32),
    Repository("openai-community/gpt2", ".gitattributes 64-8bits.tflite 64-fp16.tflite 64.tflite README.md config.json flax_model.msgpack generation_config.json merges.txt model.safetensors onnx/decoder_model.onnx pytorch_model.bin rust_model.ot tf_model.h5 tokenizer.json tokenizer_config.json vocab.json", 5.0, {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024}, {}, "text-generation", layers=12, context=1024, pickles=2),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a listing."""

    path: str
    size: int


def listing_of(repository: Repository) -> tuple[list[Listed], dict[str, bytes]]:
    """Return a repository's files and the contents of those that the table has fragments of."""
    paths = repository.paths()
    contents = {**repository.small, **({"config.json": repository.config} if repository.config else {})}
    if not set(contents) <= set(paths):
        raise AssertionError(f"{repository.repo}: a fragment of a file that the listing lacks")
    encoded = {path: (text if isinstance(text, str) else json.dumps(text)).encode() for path, text in contents.items()}
    weights = {path for path in paths if classify(path).container}
    share = int(repository.gigabytes * 1e9) // max(len(weights), 1)
    return [Listed(path, share if path in weights else 4096) for path in paths], encoded


def facts_of(repository: Repository) -> ModelFacts:
    """Return what detection makes of a repository by names and configs alone, as ``analyze`` sees it."""
    files, encoded = listing_of(repository)
    return describe(files, encoded.get, subject=Subject(repo=repository.repo, task=repository.task))


def answers(repository: Repository) -> dict[str, tuple[object, object]]:
    """Return expected and found answers by field; what the table leaves open is not compared."""
    facts = facts_of(repository)
    able = {flag for flag, can in facts.capabilities.flags.items() if can}
    found: dict[str, tuple[object, object]] = {
        "container": (repository.container, facts.download_format),
        "quantization": (repository.quantization, facts.quantization),
        "capabilities": (set(repository.capabilities.split()), able),
        "kind": (repository.kind, facts.kind.value),
        "quants": (repository.quants.split(), list(facts.quants.files)),
        "pickles": (repository.pickles, len(facts.safety.pickles)),
        "remote code": (repository.remote_code, facts.safety.remote_code),
    }
    if repository.layers is not None:
        found["layers"] = (repository.layers, facts.architecture.get("num_layers"))
    if repository.context is not None:
        found["context"] = (repository.context, facts.architecture.get("context_length"))
    if repository.family is not None:
        found["family"] = (repository.family, facts.family)
    return found
