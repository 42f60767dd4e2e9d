# ruff: noqa: E501 - one case, one line
"""What models can do and which template is theirs: kinds 9 to 11 of the reports, each with its neighbours."""

from collections.abc import Mapping

import pytest

from detection.test_describe import tell
from detection.test_kinds_quantization import gguf
from imageworks.detection.formats.chat_template import find_chat_template
from imageworks.detection.model_facts import Subject
from support.weights import BOOL, STRING, U32, gguf_file

W = 5000
TEXT = {"vocab_size": 32000, "hidden_size": 64, "num_hidden_layers": 2}
PICTURES = {"image_processor_type": "SiglipImageProcessor", "image_mean": [0.5, 0.5, 0.5]}
SOUNDS = {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000}
SEES = "{% if item['type'] == 'image' %}<start_of_image>{% endif %}{{ messages }}"


def config(kind: str | None, *classes: str, **more: object) -> dict[str, object]:
    return (
        {"model_type": kind, "architectures": list(classes), **more}
        if kind
        else {"architectures": list(classes), **more}
    )


@pytest.mark.parametrize(
    ("repo", "files", "task", "expected"),
    [
        # processors and nested configs
        ("o/a", {"config.json": config("unheard_of", "UnheardForConditionalGeneration"), "preprocessor_config.json": PICTURES}, None, "text vision"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel"), "preprocessor_config.json": SOUNDS}, None, "text audio"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel"), "processor_config.json": {"image_processor": PICTURES, "feature_extractor": SOUNDS}}, None, "text vision audio"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel"), "video_preprocessor_config.json": {"video_processor_type": "Qwen2VLVideoProcessor"}}, None, "text video"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel", vlm_config={"vision_config": {"depth": 2}, "text_config": TEXT})}, None, "text vision"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel", encoder_config={"model_type": "whisper"}, decoder_config={"model_type": "qwen2"})}, None, "text audio"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel", language_config={"model_type": "llama"}, visual_config={"depth": 2})}, None, "text vision"),
        ("o/a", {"config.json": config("unheard_of", "UnheardModel", llm_config=TEXT, audio_tower={"d_model": 8})}, None, "text audio"),
        # text members of families that see
        ("google/gemma-3-1b-it", {"config.json": config("gemma3_text", "Gemma3ForCausalLM"), "chat_template.jinja": SEES}, "text-generation", "text"),
        ("o/mistral-small-text", {"config.json": config("mistral", "MistralForCausalLM"), "chat_template.jinja": SEES}, None, "text"),
        ("o/a", {"config.json": config("gemma3", "Gemma3ForCausalLM", image_token_index=262144), "preprocessor_config.json": PICTURES}, None, "text"),
        ("o/a", {"config.json": config("gemma3", "Gemma3ForConditionalGeneration", vision_config=None)}, None, "text"),
        ("o/a", {"config.json": config("qwen3_5_text", "Qwen3_5ForCausalLM", image_token_id=1)}, None, "text"),
        ("meta-llama/Llama-3.2-1B-Instruct", {"config.json": config("llama", "LlamaForCausalLM")}, "text-generation", "text"),
        # families by their type
        ("o/a", {"config.json": config("gemma3", "Gemma3ForConditionalGeneration")}, None, "text vision"),
        ("o/a", {"config.json": config("qwen3_vl", "Qwen3VLForConditionalGeneration")}, None, "text vision video"),
        ("o/a", {"config.json": config("qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration")}, None, "text vision video audio speech"),
        ("o/a", {"config.json": config("phi3_v", "Phi3VForCausalLM", img_processor={"name": "clip"})}, None, "text vision"),
        ("o/a", {"config.json": config("qwen3_tts", "Qwen3TTSForConditionalGeneration", talker_config={"num_hidden_layers": 28})}, None, "audio speech"),
        ("o/a", {"config.json": config("vits", "VitsModel")}, None, "audio speech"),
        ("o/a", {"config.json": config("csm", "CsmForConditionalGeneration")}, None, "audio speech"),
        ("o/a", {"config.json": config("unheard_tts", "UnheardTTSModel")}, None, "audio speech"),
        ("o/a", {"config.json": config("encodec", "EncodecModel")}, None, "audio"),
        ("o/a", {"config.json": config("mimi", "MimiModel")}, None, "audio"),
        ("o/a", {"config.json": config("xcodec2", "Xcodec2Model")}, None, "audio"),
        ("o/a", {"config.json": config("whisper", "WhisperForConditionalGeneration")}, None, "text audio"),
        ("o/a", {"config.json": config("wav2vec2", "Wav2Vec2ForCTC")}, None, "text audio"),
        ("o/a", {"config.json": config("wav2vec2", "Wav2Vec2Model")}, None, "audio"),
        ("o/a", {"config.json": config("wav2vec2", "Wav2Vec2ForSequenceClassification")}, None, "audio classification"),
        ("o/a", {"config.json": config("segformer", "SegformerForSemanticSegmentation")}, None, "vision"),
        ("o/a", {"config.json": config("detr", "DetrForObjectDetection")}, None, "vision"),
        ("o/a", {"config.json": config("rt_detr_v2", "RTDetrV2ForObjectDetection")}, None, "vision"),
        ("o/a", {"config.json": config("mask2former", "Mask2FormerForUniversalSegmentation")}, None, "vision"),
        ("o/a", {"config.json": config("sam2", "Sam2Model")}, None, "vision"),
        ("o/a", {"config.json": config("depth_anything", "DepthAnythingForDepthEstimation")}, None, "vision"),
        ("o/a", {"config.json": config("vit", "ViTForImageClassification")}, None, "vision classification"),
        ("o/a", {"config.json": config("videomae", "VideoMAEForVideoClassification")}, None, "vision video classification"),
        ("o/a", {"config.json": config("siglip2", "Siglip2Model")}, None, "text vision embedding"),
        ("o/a", {"config.json": config("timesfm", "TimesFmModelForPrediction")}, None, ""),
        ("timm/vit", {"config.json": {"architecture": "vit_base_patch16_224", "num_classes": 1000, "pretrained_cfg": {}}}, None, "vision classification"),
        ("hexgrad/Kokoro-82M", {"config.json": {"istftnet": {"upsample_rates": [10, 6]}, "n_token": 178, "style_dim": 128}}, None, "audio speech"),
        ("o/XTTS-v2", {"config.json": {"output_path": "x"}}, None, "audio speech"),
        ("o/a", {"config.json": config("speecht5", "SpeechT5ForTextToSpeech")}, None, "audio speech"),
        ("o/a", {"config.json": config("speecht5", "SpeechT5ForSpeechToText")}, None, "text audio speech"),
        ("o/a", {"config.json": config("vision-encoder-decoder", "VisionEncoderDecoderModel")}, None, "text vision"),
        ("o/a", {"config.json": config("florence2", "Florence2ForConditionalGeneration")}, None, "text vision"),
        ("o/a", {"config.json": config("colpali", "ColPaliForRetrieval")}, None, "text vision embedding"),
        ("o/a", {"config.json": config("layoutlmv3", "LayoutLMv3ForTokenClassification")}, None, "text vision classification"),
        ("o/a", {"config.json": config("llava_llama", "LlavaLlamaForCausalLM", mm_vision_tower="openai/clip")}, None, "text vision"),
        ("o/a", {"config.json": config("bart", "BartForSequenceClassification")}, None, "text classification"),
        ("o/a", {"config.json": config("t5", "T5ForConditionalGeneration")}, None, "text"),
        ("o/a", {"config.json": config("mamba2", "Mamba2ForCausalLM")}, None, "text"),
        ("o/a", {"config.json": config("grounding-dino", "GroundingDinoForObjectDetection")}, None, "text vision"),
        ("o/a", {"config.json": config("clip", "CLIPModel")}, None, "text vision embedding"),
        ("o/a", {"config.json": config("gemma4", "Gemma4ForConditionalGeneration", audio_config={"d": 1}, vision_config={"d": 1})}, None, "text vision video audio"),
        ("o/a", {"config.json": config("gemma4", "Gemma4ForConditionalGeneration", audio_config=None, vision_config={"d": 1})}, None, "text vision video"),
        # vectors, ranks, labels
        ("o/a", {"config.json": config("bert", "BertModel")}, None, "text embedding"),
        ("o/a", {"config.json": config("bert", "BertForSequenceClassification", id2label={"0": "no", "1": "yes"})}, None, "text classification"),
        ("o/a", {"config.json": config("bert", "BertForTokenClassification")}, None, "text classification"),
        ("o/a", {"config.json": config("xlm-roberta", "XLMRobertaForSequenceClassification", id2label={"0": "LABEL_0"})}, None, "text reranker"),
        ("cross-encoder/ms-marco-MiniLM-mini", {"config.json": config("bert", "BertForSequenceClassification")}, None, "text reranker"),
        ("o/bge-reranker-v2-gemma", {"config.json": config("gemma", "GemmaForCausalLM")}, None, "text reranker"),
        ("o/Qwen3-Reranker-0.6B", {"config.json": config("qwen3", "Qwen3ForCausalLM")}, "text-ranking", "text reranker"),
        ("o/a", {"config.json": config("modernbert", "ModernBertForSequenceClassification", sentence_transformers={"activation_fn": "x"}), "modules.json": "[]"}, None, "text reranker"),
        ("o/Skywork-Reward-8B", {"config.json": config("llama", "LlamaForSequenceClassification", num_labels=1)}, "text-classification", "text classification"),
        ("o/Qwen3-Embedding-0.6B", {"config.json": config("qwen3", "Qwen3ForCausalLM")}, None, "text embedding"),
        ("o/a", {"config.json": config("qwen3", "Qwen3Model"), "modules.json": "[]"}, None, "text embedding"),
        # what owners are called says nothing
        ("thinking-machines/plain", {"config.json": config("llama", "LlamaForCausalLM")}, None, "text"),
        ("embedding-data/plain", {"config.json": config("llama", "LlamaForCausalLM")}, None, "text"),
        ("vision-lab/plain", {"model.gguf": W}, None, "text"),
        ("e5-labs/plain-GGUF", {"model.gguf": W}, None, "text"),
        # adapters take their base's
        ("o/lora", {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct", "task_type": "CAUSAL_LM"}, "adapter_model.safetensors": W}, None, "text vision"),
        ("o/lora", {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "x/y", "auto_mapping": {"base_model_class": "WhisperForConditionalGeneration"}}, "adapter_model.safetensors": W}, "automatic-speech-recognition", "text audio"),
        ("o/lora", {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "x/bert", "task_type": "SEQ_CLS"}, "adapter_model.safetensors": W}, None, "text classification"),
        ("o/lora", {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-3.1-8B"}, "adapter_model.safetensors": W}, None, "text"),
        # pipelines
        ("o/p", {"model_index.json": {"_class_name": "FluxPipeline"}, "transformer/model.safetensors": W}, None, "image"),
        ("o/p", {"model_index.json": {"_class_name": "WanImageToVideoPipeline"}, "transformer/model.safetensors": W}, None, "video"),
        ("o/p", {"model_index.json": {"_class_name": "StableAudioPipeline"}, "transformer/model.safetensors": W}, None, "audio"),
        ("o/p", {"model_index.json": {"_class_name": "MarigoldDepthPipeline"}, "unet/model.safetensors": W}, None, "vision"),
        ("o/p", {"model_index.json": {"_class_name": "LTXPipeline"}, "transformer/model.safetensors": W}, "text-to-video", "video"),
    ],
)  # fmt: skip
def test_detection_kind_11_capabilities_without_a_pipeline_tag(
    repo: str, files: Mapping[str, object], task: str | None, expected: str
) -> None:
    weights: Mapping[str, object] = {} if any(value == W for value in files.values()) else {"model.safetensors": W}
    facts = tell({**files, **weights}, Subject(repo=repo, task=task))
    assert {flag for flag, can in facts.capabilities.flags.items() if can} == set(expected.split())


LLM = {"general.file_type": 15}
BLOCK = ("blk.0.ffn_up.weight", [256, 64], 12)


def header(architecture: str, **more: int) -> bytes:
    data = gguf({f"{architecture}.{key}": value for key, value in more.items()}, [BLOCK])
    return data.replace(b"\x05\0\0\0\0\0\0\0llama", len(architecture).to_bytes(8, "little") + architecture.encode(), 1)


def projector(**flags: object) -> bytes:
    pairs: list[tuple[str, int, object]] = [
        ("general.architecture", STRING, "clip"),
        ("general.type", STRING, "mmproj"),
    ]
    pairs += [(f"clip.{key}", BOOL if isinstance(value, bool) else STRING, value) for key, value in flags.items()]
    return gguf_file(pairs, [("mm.0.weight", [32], 0, 0)], data=b"\0" * 128)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"m-Q4_K_M.gguf": "llama", "mmproj-m-f16.gguf": projector(has_audio_encoder=True)}, "text audio"),
        ({"m-Q4_K_M.gguf": "llama", "mmproj-m-f16.gguf": projector(has_vision_encoder=True)}, "text vision"),
        (
            {"m-Q4_K_M.gguf": "llama", "mmproj-m-f16.gguf": projector(has_vision_encoder=True, has_audio_encoder=True)},
            "text vision audio",
        ),
        ({"m-Q4_K_M.gguf": "llama", "mmproj-m-f16.gguf": projector(projector_type="ultravox")}, "text audio"),
        ({"m-Q4_K_M.gguf": "llama", "mmproj-m-f16.gguf": projector(projector_type="qwen2.5o")}, "text vision audio"),
        ({"m-Q4_K_M.gguf": "llama", "mmproj-m-f16.gguf": projector(projector_type="gemma3")}, "text vision"),
        ({"m-Q4_K_M.gguf": "gemma3"}, "text"),
        ({"m-Q4_K_M.gguf": "qwen2vl"}, "text vision"),
        ({"m-Q4_K_M.gguf": "nomic-bert"}, "text embedding"),
        ({"m-Q4_K_M.gguf": "flux"}, "image"),
        ({"m-Q4_K_M.gguf": "wan"}, "video"),
        ({"m-Q4_K_M.gguf": "wavtokenizer-dec"}, "audio speech"),
    ],
)
def test_detection_kind_9_projectors_and_architectures_say_what_a_gguf_takes_in(
    files: Mapping[str, object], expected: str
) -> None:
    made = {path: header(value) if isinstance(value, str) else value for path, value in files.items()}
    flags = tell(made, Subject(repo="o/x-GGUF")).capabilities.flags
    assert {flag for flag, can in flags.items() if can} == set(expected.split())


@pytest.mark.parametrize(
    ("architecture", "pooling", "expected"),
    [("qwen3", 3, "text embedding"), ("bert", 4, "text reranker"), ("llama", 0, "text"), ("bert", 1, "text embedding")],
)
def test_detection_kind_9_pooling_tells_embeddings_from_rerankers(
    architecture: str, pooling: int, expected: str
) -> None:
    flags = tell({"m.gguf": header(architecture, pooling_type=pooling)}, Subject(repo="o/x")).capabilities.flags
    assert {flag for flag, can in flags.items() if can} == set(expected.split())


def test_detection_kind_9_without_its_header_a_projector_is_told_by_name() -> None:
    names = {"Voxtral-Mini-3B-Q4_K_M.gguf": W, "mmproj-Voxtral-Mini-3B-Q8_0.gguf": W}
    flags = tell(names, Subject(repo="o/Voxtral-Mini-3B-GGUF"), most_headers=0).capabilities.flags
    assert (flags["audio"], flags["vision"]) == (True, False)


PLAIN = {"chat_template": "plain {{ messages }}"}
TOOLS = "{% for t in tools %}{{ t }}{% endfor %}"


@pytest.mark.parametrize(
    ("files", "path", "tools", "names"),
    [
        ({"examples/tool_chat_template.jinja": TOOLS, "tokenizer_config.json": PLAIN}, "tokenizer_config.json", False, ()),
        ({"tool_chat_template_llama3.jinja": TOOLS, "tokenizer_config.json": PLAIN}, "tokenizer_config.json", False, ()),
        ({"templates/chat_template.jinja": TOOLS, "tokenizer_config.json": PLAIN}, "tokenizer_config.json", False, ()),
        ({"chat_template.jinja": "plain", "additional_chat_templates/tool_use.jinja": TOOLS, "additional_chat_templates/rag.jinja": "r"}, "chat_template.jinja", True, ("default", "rag", "tool_use")),
        ({"additional_chat_templates/tool_use.jinja": TOOLS, "tokenizer_config.json": PLAIN}, "tokenizer_config.json", True, ("default", "tool_use")),
        ({"chat_template.jinja": " \n\t", "tokenizer_config.json": PLAIN}, "tokenizer_config.json", False, ()),
        ({"chat_template.jinja": "\ufeff\n", "chat_template.json": {"chat_template": TOOLS}}, "chat_template.json", True, ()),
        ({"chat_template.jinja": "", "tokenizer_config.json": {"chat_template": "  "}}, None, False, ()),
        ({"chat_template.jinja": TOOLS, "chat_template.json": PLAIN, "tokenizer_config.json": PLAIN}, "chat_template.jinja", True, ()),
        ({"somewhere.jinja": TOOLS}, None, False, ()),
    ],
)  # fmt: skip
def test_detection_kind_10_the_template_is_the_one_that_loaders_read(
    files: Mapping[str, object],
    path: str | None,
    tools: bool,
    names: tuple[str, ...],
) -> None:
    facts = tell({**files, "config.json": config("qwen3", "Qwen3ForCausalLM"), "model.safetensors": W})
    assert (facts.chat_template.path, facts.chat_template.names) == (path, names)
    assert facts.capabilities.flags["tools"] is tools


def test_detection_kind_10_other_templates_are_named() -> None:
    found = find_chat_template(["a.jinja", "chat_template.jinja"], {"chat_template.jinja": b"x", "a.jinja": b"y"}.get)
    assert found.others == ("a.jinja",)


def test_detection_kind_9_a_projector_beside_other_weights_changes_no_kind() -> None:
    files = {"model.safetensors": W, "vae.safetensors": W, "mmproj-m.gguf": W, "config.json": config("llama")}
    assert tell(files).kind.value == "model"
    assert tell({"mmproj-m.gguf": W}).kind.value == "projector"


def test_detection_kind_4_a_split_file_is_told_by_its_first_shard_and_an_adapter_by_its_header() -> None:
    first = gguf_file([("general.architecture", STRING, "qwen2"), ("general.file_type", U32, 15)])
    shards = {f"m-Q4_K_M-0000{number}-of-00002.gguf": first if number == 1 else header("qwen2") for number in (1, 2)}
    assert tell(shards, Subject(repo="o/x-GGUF")).quantization == "q4_k_m"
    lora = gguf_file([("general.architecture", STRING, "llama"), ("general.type", STRING, "adapter")])
    assert tell({"m.gguf": lora}).kind.value == "adapter"


def test_detection_a_name_without_letters_names_no_family() -> None:
    assert tell({"model.safetensors": W}, Subject(repo="owner/x/:")).family is None
