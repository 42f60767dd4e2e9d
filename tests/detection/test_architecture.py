from imageworks.detection.architecture import architecture_of_config, text_part
from imageworks.detection.claims.gguf_config import config_of_gguf
from imageworks.detection.formats.gguf_header import GgufHeader, Value

VISION_LANGUAGE = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration", 7],
    "model_type": "qwen2_5_vl",
    "hidden_size": 1,
    "text_config": {
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128000,
        "rope_theta": 1000000.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {"depth": 32, "hidden_size": 1280, "patch_size": 14, "image_size": None},
}


def test_the_text_part_of_a_config_counts_and_each_figure_names_its_place() -> None:
    found = architecture_of_config(VISION_LANGUAGE)
    places = found.pop("field_sources")
    assert found == {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "num_layers": 28,
        "hidden_size": 3584,
        "num_attention_heads": 28,
        "num_kv_heads": 4,
        "head_dim": 128,
        "max_position_embeddings": 128000,
        "context_length": 512000,
        "original_context_length": 128000,
        "rope_theta": 1000000.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
        "vision": {"num_layers": 32, "hidden_size": 1280, "patch_size": 14},
        "sources": ["config.json"],
    }
    assert isinstance(places, dict)
    assert places["num_layers"] == "config.json:text_config"
    assert places["vision"] == "config.json:vision_config"
    assert places["head_dim"] == "config.json:text_config: hidden_size / heads"


def test_a_said_head_size_is_never_computed() -> None:
    said = architecture_of_config({"hidden_size": 2880, "num_attention_heads": 64, "head_dim": 64})
    assert said["head_dim"] == 64
    assert "head_dim" not in architecture_of_config({"hidden_size": 4545, "num_attention_heads": 64})


def test_newer_rope_parameters_and_deeper_parts_are_read() -> None:
    found = architecture_of_config({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "n_layer": 12})
    assert (found["rope_theta"], found["rope_scaling"], found["num_layers"]) == (10000.0, {"rope_type": "default"}, 12)
    deep = architecture_of_config(
        {"thinker_config": {"text_config": {"num_hidden_layers": 48}, "vision_config": {"depth": 27}}}
    )
    assert deep["num_layers"] == 48
    assert deep["vision"] == {"num_layers": 27}


def test_figures_that_cannot_be_are_left_out_or_warned_of() -> None:
    found = architecture_of_config({"num_hidden_layers": 0, "vocab_size": 2**60, "hidden_size": True, "n_head": "x"})
    assert found == {}
    odd = architecture_of_config({"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 8})
    assert odd["warnings"] == ["8 key-value heads for 4 heads"]


def header(**metadata: Value) -> GgufHeader:
    named = {key.replace("__", "."): value for key, value in metadata.items()}
    return GgufHeader(3, named, {"tokenizer.ggml.tokens": 32000}, {}, 0, 32, 32)


def test_a_gguf_header_gives_the_same_figures() -> None:
    found = architecture_of_config(
        config_of_gguf(
            header(
                general__architecture="llama",
                general__size_label="8B",
                llama__block_count=32,
                llama__embedding_length=4096,
                llama__attention__head_count=32,
                llama__attention__head_count_kv=(8, 8, 0),
                llama__context_length=8192,
                llama__rope__freq_base=500000.0,
                llama__rope__scaling__type="linear",
                llama__rope__scaling__factor=8.0,
            )
        ),
        "m.gguf",
    )
    places = found.pop("field_sources")
    assert found == {
        "model_type": "llama",
        "size_label": "8B",
        "num_layers": 32,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_kv_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 8192,
        "context_length": 65536,
        "original_context_length": 8192,
        "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "vocab_size": 32000,
        "sources": ["m.gguf"],
    }
    assert isinstance(places, dict)
    assert places["num_layers"] == "m.gguf"
    assert architecture_of_config(config_of_gguf(header()), "m.gguf") == {}


def test_the_text_part_is_the_config_itself_when_it_has_none() -> None:
    assert text_part({"a": 1}) == {"a": 1}
    assert text_part({"llm_config": {"b": 2}}) == {"b": 2}
