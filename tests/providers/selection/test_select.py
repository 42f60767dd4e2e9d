"""Which files a manifest gets: typed-in listings of real repositories, and the questions a listing can leave open."""

import pytest

from imageworks.detection.file_names import Container
from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.providers.selection.model import Selection, SelectionError
from imageworks.providers.selection.select import available_quantizations
from support.selection import select_files

SMALL = ("README.md", "LICENSE", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def remote(path: str, size: int = 1000) -> RemoteFile:
    return RemoteFile(path, size, Digest(Algorithm.GIT_BLOB, "0" * 40), large=False)


def listing(*paths: str) -> list[RemoteFile]:
    return [remote(path) for path in paths]


def names(selection: Selection) -> set[str]:
    return {file.path for file in selection.files}


SHARDS = tuple(f"model-{n:05d}-of-00003.safetensors" for n in (1, 2, 3))
BINS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
LLAMA = listing(
    *SMALL,
    *SHARDS,
    "model.safetensors.index.json",
    *BINS,
    "pytorch_model.bin.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    "original/tokenizer.model",
    "special_tokens_map.json",
    "USE_POLICY.md",
    ".gitattributes",
    "figures/bench.png",
)


def test_default_is_safetensors_with_all_that_loads_it() -> None:
    selection = select_files(LLAMA)
    assert selection.container is Container.SAFETENSORS
    assert names(selection) == {
        *SMALL, *SHARDS, "model.safetensors.index.json", "special_tokens_map.json", "USE_POLICY.md",
    }  # fmt: skip
    assert {file.path for file in selection.left_out} == {file.path for file in LLAMA} - names(selection)


def test_optional_files_come_only_when_asked() -> None:
    selection = select_files(LLAMA, include_optional=True)
    assert {".gitattributes", "figures/bench.png", "original/params.json"} <= names(selection)
    assert "original/consolidated.00.pth" not in names(selection)


def test_a_named_format_takes_its_own_weights_and_index() -> None:
    selection = select_files(LLAMA, format="pytorch")
    assert set(BINS) | {"pytorch_model.bin.index.json", "config.json"} <= names(selection)
    assert not {"model.safetensors.index.json", *SHARDS} & names(selection)


def test_a_copy_can_be_had_by_name() -> None:
    selection = select_files(LLAMA, include=["original/*"])
    assert {"original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"} <= names(selection)
    assert not set(SHARDS) & names(selection)


def test_a_scheme_as_format_means_the_container_that_carries_it() -> None:
    assert select_files(LLAMA, format="AWQ").container is Container.SAFETENSORS


def test_an_absent_format_is_an_error_that_lists_the_present_ones() -> None:
    with pytest.raises(SelectionError, match="no gguf weights") as caught:
        select_files(LLAMA, format="gguf")
    assert caught.value.reason == "no-such-format"
    assert "safetensors, pytorch" in (caught.value.remedy or "")


def test_other_frameworks_and_their_configs_stay_away() -> None:
    files = listing(
        *SMALL,
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "rust_model.ot",
        "onnx/model.onnx",
        "onnx/model_quantized.onnx",
        "onnx/config.json",
        "openvino/openvino_model.bin",
        "openvino/openvino_model.xml",
        "coreml/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
        "coreml/model.mlpackage/Manifest.json",
        "training_args.bin",
        "optimizer.pt",
        "runs/events.out.tfevents.1",
        "checkpoint-500/model.safetensors",
        "checkpoint-500/config.json",
    )
    assert names(select_files(files)) == {*SMALL, "model.safetensors"}


def test_onnx_is_taken_with_its_folder_when_it_is_the_format() -> None:
    files = listing(*SMALL, "model.safetensors", "onnx/model.onnx", "onnx/model_q4.onnx", "onnx/config.json")
    assert names(select_files(files, format="onnx")) == {*SMALL, "onnx/model.onnx", "onnx/config.json"}
    assert "onnx/model_q4.onnx" in names(select_files(files, format="onnx", include=["*q4.onnx"]))


def test_remote_code_and_processors_and_templates_come_along() -> None:
    extra = (
        "modeling_custom.py", "configuration_custom.py", "preprocessor_config.json", "processor_config.json",
        "chat_template.jinja", "quantize_config.json", "tokenizer.model", "additional_chat_templates/tool_use.jinja",
    )  # fmt: skip
    assert set(extra) <= names(select_files(listing(*SMALL, "model.safetensors", *extra)))


def test_mistrals_second_copy_stays_away() -> None:
    files = listing("params.json", "consolidated.safetensors", "model.safetensors", "config.json")
    assert names(select_files(files)) == {"params.json", "model.safetensors", "config.json"}
    alone = listing("params.json", "consolidated.safetensors", "tekken.json")
    assert "consolidated.safetensors" in names(select_files(alone))


def test_a_pipeline_takes_each_component_once() -> None:
    files = listing(
        "model_index.json",
        "sd_xl_base_1.0.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
        "safety_checker/config.json",
        "safety_checker/pytorch_model.bin",
    )
    plain = select_files(files)
    assert names(plain) == {file.path for file in files} - {
        "sd_xl_base_1.0.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
    }  # fmt: skip
    assert plain.warnings == (
        "safety_checker/pytorch_model.bin is a pickle: this part of the model has no safetensors",
    )
    half = names(select_files(files, quantization="fp16"))
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in half
    assert "unet/diffusion_pytorch_model.safetensors" not in half
    assert "vae/diffusion_pytorch_model.safetensors" in half


def test_variants_keep_their_own_index() -> None:
    files = listing(
        "transformer/config.json",
        "transformer/m-00001-of-00001.safetensors",
        "transformer/m.safetensors.index.json",
        "transformer/m.fp16-00001-of-00001.safetensors",
        "transformer/m.fp16.safetensors.index.json",
    )
    assert names(select_files(files)) == {"transformer/config.json", files[1].path, files[2].path}
    assert names(select_files(files, quantization="fp16")) == {"transformer/config.json", files[3].path, files[4].path}


GGUF = [
    remote("README.md"),
    remote("config.json"),
    remote("Qwen2.5-VL-7B-Q4_K_M.gguf", 4_700_000_000),
    remote("Qwen2.5-VL-7B-Q8_0.gguf", 8_100_000_000),
    remote("Qwen2.5-VL-7B-bf16/Qwen2.5-VL-7B-bf16-00001-of-00002.gguf", 8_000_000_000),
    remote("Qwen2.5-VL-7B-bf16/Qwen2.5-VL-7B-bf16-00002-of-00002.gguf", 7_000_000_000),
    remote("mmproj-Qwen2.5-VL-7B-f32.gguf", 2_700_000_000),
    remote("mmproj-Qwen2.5-VL-7B-f16.gguf", 1_400_000_000),
    remote("Qwen2.5-VL-7B.imatrix"),
]


def test_many_quantizations_without_a_choice_are_an_error_with_sizes() -> None:
    with pytest.raises(SelectionError, match="3 quantizations") as caught:
        select_files(GGUF)
    assert caught.value.reason == "ambiguous-quantization"
    assert [choice.label for choice in caught.value.choices] == ["q4_k_m", "q8_0", "bf16"]
    assert "q4_k_m (4.7 GB)" in (caught.value.remedy or "")
    assert caught.value.choices == available_quantizations(GGUF)


def test_a_wrong_choice_is_answered_with_what_there_is() -> None:
    files = [remote("m-Q4_K_M.gguf", 2_500_000), remote("m-Q8_0.gguf", 5_000_000)]
    with pytest.raises(SelectionError, match="no quantization") as caught:
        select_files(files, quantization="q2_k")
    assert caught.value.remedy == "Choose one of: q4_k_m (2.5 MB), q8_0 (5.0 MB)."
    with pytest.raises(SelectionError, match="no awq weights") as caught:
        select_files(files, format="awq")
    assert caught.value.remedy == "Formats of this repository: gguf."


def test_one_quantization_comes_with_its_projector() -> None:
    selection = select_files(GGUF, quantization="Q4_K_M")
    assert names(selection) == {
        "README.md", "config.json", "Qwen2.5-VL-7B-Q4_K_M.gguf", "mmproj-Qwen2.5-VL-7B-f16.gguf",
    }  # fmt: skip
    assert (selection.container, selection.quantization) == (Container.GGUF, "q4_k_m")


def test_shards_of_a_quantization_come_together() -> None:
    selection = select_files(GGUF, quantization="bf16")
    assert len([name for name in names(selection) if "bf16-0000" in name]) == 2


def test_an_unknown_quantization_lists_the_known_ones() -> None:
    with pytest.raises(SelectionError, match="no quantization 'Q2_K'") as caught:
        select_files(GGUF, quantization="Q2_K")
    assert caught.value.reason == "no-such-quantization"


def test_a_llama_quantization_prefers_gguf_over_safetensors() -> None:
    both = [*GGUF, *listing("model.safetensors")]
    assert select_files(both).container is Container.SAFETENSORS
    assert select_files(both, quantization="q8_0").container is Container.GGUF


def test_a_single_quantization_needs_no_choice() -> None:
    assert select_files(listing("m-Q6_K.gguf")).quantization == "q6_k"


def test_several_models_with_one_quantization_need_a_glob() -> None:
    files = listing("small-Q4_0.gguf", "large-Q4_0.gguf")
    with pytest.raises(SelectionError, match="2 models") as caught:
        select_files(files, quantization="q4_0")
    assert "large-Q4_0.gguf" in (caught.value.remedy or "")
    assert names(select_files(files, include=["small-*"])) == {"small-Q4_0.gguf"}


def test_globs_narrow_the_weights_only() -> None:
    selection = select_files(GGUF, include=["*Q8_0*"])
    assert {"README.md", "config.json", "Qwen2.5-VL-7B-Q8_0.gguf"} <= names(selection)
    assert "Qwen2.5-VL-7B-Q4_K_M.gguf" not in names(selection)


@pytest.mark.parametrize(
    ("glob", "near"), [("*q8_0*", "Qwen2.5-VL-7B-Q8_0.gguf"), ("Qwen2.5-VL-7B-Q8.gguf", "Qwen2.5-VL-7B-Q8_0.gguf")]
)
def test_a_glob_without_a_match_names_near_misses(glob: str, near: str) -> None:
    with pytest.raises(SelectionError, match="matches no weights") as caught:
        select_files(GGUF, include=["*Q4_K_M*", glob])
    assert caught.value.reason == "no-matching-files"
    assert near in (caught.value.remedy or "")


def test_weights_named_by_what_are_none_are_refused_and_say_so() -> None:
    with pytest.raises(SelectionError, match=r"it matches only config\.json"):
        select_files(GGUF, weights=["config.json"])


def test_d4_include_takes_any_file_that_it_names() -> None:
    assert names(select_files(GGUF, include=["config.json"])) == {"README.md", "config.json"}
    files = listing("README.md", "config.json", "model.safetensors", "spk_dict.pt", "voices.npy", "other.npy")
    chosen = names(select_files(files, include=["*.safetensors", "spk_dict.pt", "voices.npy"]))
    assert chosen == {"README.md", "config.json", "model.safetensors", "spk_dict.pt", "voices.npy"}
    with pytest.raises(SelectionError, match=r"voice\.npy") as caught:
        select_files(files, include=["*.safetensors", "voice.npy"])
    assert "voices.npy" in (caught.value.remedy or "")


def test_missing_shards_are_an_error() -> None:
    with pytest.raises(
        SelectionError, match=r"model-NNNNN-of-00003\.safetensors: 1 of 3 shards are missing \(2\)"
    ) as e:
        select_files(listing("config.json", SHARDS[0], SHARDS[2]))
    assert e.value.reason == "incomplete-shards"
    assert "incomplete" in (e.value.remedy or "")


@pytest.mark.parametrize("numbers", [(0, 1), (0, 1, 2)])
def test_shards_may_count_from_zero(numbers: tuple[int, ...]) -> None:
    files = listing("config.json", *(f"model-{number:05d}-of-00002.safetensors" for number in numbers))
    assert len(select_files(files).files) == len(numbers) + 1
    with pytest.raises(SelectionError, match=r"shards are missing \(1\)"):
        select_files([file for file in files if "-00001-" not in file.path])


def test_a_glob_that_cuts_shards_is_an_error() -> None:
    with pytest.raises(SelectionError, match="2 of 3 shards") as caught:
        select_files(LLAMA, include=["model-00001*"])
    assert "Widen" in (caught.value.remedy or "")


def test_missing_gguf_shards_are_an_error() -> None:
    with pytest.raises(SelectionError, match="shards are missing"):
        select_files([file for file in GGUF if "00001-of" not in file.path], quantization="bf16")


def test_a_subfolder_brings_only_itself_and_the_licence() -> None:
    files = listing(
        "README.md", "LICENSE", "config.json", "model.safetensors", "small/config.json", "small/m.safetensors"
    )
    assert names(select_files(files, subfolder="small/")) == {
        "README.md", "LICENSE", "small/config.json", "small/m.safetensors",
    }  # fmt: skip
    with pytest.raises(SelectionError, match="no folder 'smal'") as caught:
        select_files(files, subfolder="smal")
    assert "small" in (caught.value.remedy or "")


def test_a_repository_without_weights_is_an_error() -> None:
    with pytest.raises(SelectionError, match="no weights") as caught:
        select_files(listing("README.md", "data.csv"))
    assert caught.value.reason == "no-weights"
