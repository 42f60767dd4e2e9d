import pytest

from imageworks.detection.file_names import UNLABELLED, Container, Role, classify, group_quants
from imageworks.naming.quantization_labels import find_quantizations, is_ggml_label, plain_label, quantization_label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Q4_K_M", "q4_k_m"),
        ("Q2_K", "q2_k"),
        ("Q3_K_XL", "q3_k_xl"),
        ("Q6_K_L", "q6_k_l"),
        ("Q8_0", "q8_0"),
        ("Q4_0_8_8", "q4_0_8_8"),
        ("IQ1_S", "iq1_s"),
        ("IQ2_XXS", "iq2_xxs"),
        ("IQ4_NL", "iq4_nl"),
        ("IQ4_KSS", "iq4_kss"),
        ("TQ1_0", "tq1_0"),
        ("i2_s", "i2_s"),
        ("UD-Q4_K_XL", "ud-q4_k_xl"),
        ("ud_iq1_m", "ud-iq1_m"),
        ("i1-IQ3_M", "i1-iq3_m"),
        ("MXFP4_MOE", "mxfp4"),
        ("NVFP4", "nvfp4"),
        ("F16", "fp16"),
        ("bfloat16", "bf16"),
        ("float32", "fp32"),
        ("float8_e4m3fn", None),
        ("fp8_e4m3", "fp8"),
        ("FP8_dynamic", "fp8-dynamic"),
        ("int4", "int4"),
        ("w4a16", "w4a16"),
        ("W4G128", "w4g128"),
        ("bnb_nf4", "bnb-4bit"),
        ("bnb", "bnb-4bit"),
        ("bnb-8bit", "bnb-8bit"),
        ("4-bit", "4bit"),
        ("4.25bpw", "4.25bpw"),
        ("gptq_v2", "gptq"),
        ("squeezellm", "squeezellm"),
        ("q4", "q4"),
        ("7b", None),
        ("latest", None),
        ("instruct-q4_k_m", None),
        ("", None),
    ],
)
def test_a_token_has_one_spelling(text: str, label: str | None) -> None:
    assert quantization_label(text) == label


def test_tokens_are_found_only_where_they_stand_alone() -> None:
    assert [token.label for token in find_quantizations("Qwen-AWQ-int4.Q4_K_M-00001-of-00002")] == [
        "awq",
        "int4",
        "q4_k_m",
    ]
    assert not find_quantizations("hawqs-faq4-x16fp")
    assert plain_label("ud-q4_k_xl") == "q4_k_xl"
    assert is_ggml_label("fp16")
    assert not is_ggml_label("awq")


@pytest.mark.parametrize(
    ("path", "role", "container", "quantization"),
    [
        ("config.json", Role.CONFIG, None, None),
        ("model.safetensors", Role.WEIGHTS, Container.SAFETENSORS, None),
        ("model.safetensors.index.json", Role.INDEX, None, None),
        ("unet/diffusion_pytorch_model.fp16.safetensors", Role.WEIGHTS, Container.SAFETENSORS, "fp16"),
        ("pytorch_model.bin", Role.WEIGHTS, Container.PYTORCH, None),
        ("original/consolidated.00.pth", Role.WEIGHTS, Container.PYTORCH, None),
        ("training_args.bin", Role.OPTIONAL, None, None),
        ("optimizer.pt", Role.OPTIONAL, None, None),
        ("onnx/model_q4f16.onnx", Role.WEIGHTS, Container.ONNX, "q4f16"),
        ("onnx/model.onnx_data_1", Role.WEIGHTS, Container.ONNX, None),
        ("openvino/openvino_model.bin", Role.WEIGHTS, Container.OPENVINO, None),
        ("openvino_model.bin", Role.WEIGHTS, Container.OPENVINO, None),
        ("flax_model.msgpack", Role.WEIGHTS, Container.FLAX, None),
        ("tf_model.h5", Role.WEIGHTS, Container.TENSORFLOW, None),
        ("a.mlpackage/Data/com.apple.CoreML/weights/weight.bin", Role.WEIGHTS, Container.COREML, None),
        ("a.mlpackage/Manifest.json", Role.CONFIG, None, None),
        ("tokenizer.model", Role.TOKENIZER, None, None),
        ("sentencepiece.bpe.model", Role.TOKENIZER, None, None),
        ("chat_template.jinja", Role.CHAT_TEMPLATE, None, None),
        ("chat_template.json", Role.CHAT_TEMPLATE, None, None),
        ("additional_chat_templates/tool_use.jinja", Role.CHAT_TEMPLATE, None, None),
        ("README.md", Role.README, None, None),
        ("LICENSE.txt", Role.LICENSE, None, None),
        ("USE_POLICY.md", Role.LICENSE, None, None),
        ("modeling_x.py", Role.CODE, None, None),
        (".gitattributes", Role.OPTIONAL, None, None),
        ("figures/a.png", Role.OPTIONAL, None, None),
        ("hf_quant_config.json", Role.QUANTIZATION_CONFIG, None, None),
        ("imatrix.dat", Role.DATA, None, None),
        ("mmproj-model-f16.gguf", Role.PROJECTOR, Container.GGUF, "fp16"),
        ("x.imatrix.gguf", Role.DATA, Container.GGUF, None),
        ("ggml-model-Q4_K_M.gguf", Role.WEIGHTS, Container.GGUF, "q4_k_m"),
        ("Q6_K/model-00001-of-00002.gguf", Role.WEIGHTS, Container.GGUF, "q6_k"),
        ("Foo-AWQ.gguf", Role.WEIGHTS, Container.GGUF, None),
    ],
)
def test_a_name_says_role_container_and_quantization(
    path: str, role: Role, container: Container | None, quantization: str | None
) -> None:
    named = classify(path)
    assert (named.role, named.container, named.quantization) == (role, container, quantization)


def test_shards_of_a_quantization_stay_together_and_projectors_stand_aside() -> None:
    groups = group_quants(
        [
            "README.md",
            "mmproj-X-f16.gguf",
            "X.imatrix.gguf",
            "X-UD-IQ1_S/X-UD-IQ1_S-00002-of-00002.gguf",
            "X-UD-IQ1_S/X-UD-IQ1_S-00001-of-00002.gguf",
            "BF16/X.BF16-00001-of-00003.gguf",
            "BF16/X.BF16-00003-of-00003.gguf",
            "X-Q4_K_M.gguf",
            "X.Q8_0.gguf.part1of2",
            "X.Q8_0.gguf.part2of2",
        ]
    )
    assert groups.files == {
        "ud-iq1_s": ("X-UD-IQ1_S/X-UD-IQ1_S-00001-of-00002.gguf", "X-UD-IQ1_S/X-UD-IQ1_S-00002-of-00002.gguf"),
        "bf16": ("BF16/X.BF16-00001-of-00003.gguf", "BF16/X.BF16-00003-of-00003.gguf"),
        "q4_k_m": ("X-Q4_K_M.gguf",),
        "q8_0": ("X.Q8_0.gguf.part1of2", "X.Q8_0.gguf.part2of2"),
    }
    assert groups.projectors == ("mmproj-X-f16.gguf",)
    assert groups.aside == ("X.imatrix.gguf",)
    assert [(variant.label, variant.missing) for variant in groups.variants if variant.missing] == [("bf16", (2,))]


def test_parts_named_by_letters_stay_together() -> None:
    (variant,) = group_quants(["m.Q6_K.gguf-split-b", "m.Q6_K.gguf-split-a"]).variants
    assert variant.files == ("m.Q6_K.gguf-split-a", "m.Q6_K.gguf-split-b")
    assert not variant.missing


def test_a_word_for_a_quantization_finds_its_variants() -> None:
    groups = group_quants(["x-UD-Q4_K_XL.gguf", "x-Q4_K_M.gguf", "x-Q8_0.gguf", "y-Q8_0.gguf", "plain.gguf"])
    assert [variant.label for variant in groups.find("Q4_K_M")] == ["q4_k_m"]
    assert [variant.label for variant in groups.find("q4_k_xl")] == ["ud-q4_k_xl"]
    assert [variant.label for variant in groups.find("q4")] == ["q4_k_m", "ud-q4_k_xl"]
    assert [variant.stem for variant in groups.find("q8_0")] == ["x", "y"]
    assert not groups.find("q2_k")
    assert groups.files[UNLABELLED] == ("plain.gguf",)
