"""Containers of other programs have their own words: kind 12, and what each of them may run."""

from collections.abc import Mapping

import pytest

from detection.test_describe import tell
from imageworks.detection.model_facts import Subject

RAW = 5000
"""Bytes of a file that nobody looks into."""


@pytest.mark.parametrize(
    ("files", "container", "quantization"),
    [
        (
            {
                "mlc-chat-config.json": {"model_type": "qwen2", "quantization": "q4f16_1", "context_window_size": 512},
                "ndarray-cache.json": {"metadata": {}},
                "params_shard_0.bin": RAW,
                "params_shard_1.bin": RAW,
            },
            "mlc",
            "q4f16_1",
        ),
        ({"tensor-cache.json": {}, "params_shard_0.bin": RAW}, "mlc", None),
        ({"Qwen3-1.7B_w8a8_rk3588.rkllm": RAW}, "rkllm", "w8a8"),
        ({"model.rknn": RAW}, "rknn", None),
        ({"llama3_2-1B.pte": RAW, "tokenizer.model": RAW}, "executorch", None),
        ({"rank0.engine": RAW, "rank1.engine": RAW, "config.json": {}}, "tensorrt", None),
        ({"unet.plan": RAW}, "tensorrt", None),
        ({"llm.mnn": RAW, "llm.mnn.weight": RAW, "llm_config.json": {}}, "mnn", None),
        ({"inference.pdiparams": RAW, "inference.pdmodel": RAW}, "paddle", None),
        ({"model_state.pdparams": RAW}, "paddle", None),
        ({"Llama-3.2-3B-Instruct.Q6_K.llamafile": RAW}, "llamafile", "q6_k"),
        ({"FLUX.1-dev.dduf": RAW}, "dduf", None),
        ({"saved_model.pb": RAW, "variables/variables.data-00000-of-00001": RAW}, "tensorflow", None),
        ({"model.json": {}, "group1-shard1of2.bin": RAW, "group1-shard2of2.bin": RAW}, "tfjs", None),
        ({"model.ncnn.param": RAW, "model.ncnn.bin": RAW}, "ncnn", None),
        ({"genie_config.json": {}, "weights_1_of_2.bin": RAW}, "qnn", None),
        ({"resnet50.hef": RAW}, "hailo", None),
        ({"llm.axmodel": RAW}, "runtime", None),
        ({"model.bin": RAW, "vocabulary.json": {}}, "ctranslate2", None),
        ({"pytorch_model.bin": RAW}, "pytorch", None),
        ({"model.joblib": RAW}, "pickle", None),
    ],
)
def test_detection_kind_12_a_container_has_its_own_word(
    files: Mapping[str, object], container: str, quantization: str | None
) -> None:
    facts = tell(files, Subject(repo="o/x"))
    assert facts.download_format == container
    assert facts.quantization == quantization
    pickles = {"pytorch", "pickle"} | ({"paddle"} if "model_state.pdparams" in files else set())
    assert any(file.reason == "pickle" for file in facts.safety.files) is (container in pickles)
