"""What servers say to models: from real small folders to yes, no, or with what, and the page that shows the table."""

import json
import re
from pathlib import Path

import pytest

from imageworks.detection.local_files import describe_folder
from imageworks.registry.settings.server_options import QWEN3_RERANKER
from imageworks.serving.compatibility import RULES, VERSIONS, Answer, Trait, traits_of, verdict, verdicts
from support.serving import chat_model
from support.weights import gguf_file

PAGE = Path(__file__).parent.parent.parent / "docs/servers.md"
SERVERS = tuple(VERSIONS)


def model(folder: Path, *, config: dict[str, object] | None = None, files: tuple[str, ...] = ()) -> Path:
    """A complete chat model whose config says something more, with more files."""
    chat_model(folder)
    said = json.loads((folder / "config.json").read_bytes()) | (config or {})
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    for name in files:
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


def quantized(**said: object) -> dict[str, object]:
    return {"quantization_config": said}


@pytest.mark.parametrize(
    ("name", "config", "files", "vllm", "lmdeploy"),
    [
        ("plain-7b", {}, (), "yes", "yes"),
        ("m-awq", quantized(quant_method="awq", bits=4, group_size=128, version="gemm"), (), "yes", "yes"),
        ("m-gptq", quantized(quant_method="gptq", bits=4, group_size=128, desc_act=False), (), "yes", "with"),
        ("m-fp8", quantized(quant_method="fp8", fmt="e4m3"), (), "yes", "yes"),
        ("m-mxfp4", quantized(quant_method="mxfp4"), (), "yes", "with"),
        ("m-bnb", quantized(quant_method="bitsandbytes", load_in_4bit=True), (), "with", "no"),
        ("m-exl2", quantized(quant_method="exl2", bits=4.0), (), "no", "no"),
        ("m-hqq", quantized(quant_method="hqq"), (), "unknown", "unknown"),
        (
            "m-quark",
            quantized(quant_method="quark", global_quant_config={"weight": {"dtype": "fp8_e4m3"}}),
            (),
            "yes",
            "no",
        ),
        ("m-torchao", quantized(quant_method="torchao"), (), "yes", "no"),
        ("m-own-code", {"auto_map": {"AutoModel": "modeling_x.X"}}, (), "with", "with"),
        ("Qwen3-Embedding-0.6B", {"architectures": ["Qwen3ForCausalLM"]}, ("modules.json",), "with", "no"),
        ("bge-m3", {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]}, (), "with", "no"),
        ("bge-reranker", {"architectures": ["XLMRobertaForSequenceClassification"]}, (), "with", "no"),
        ("Qwen3-Reranker-0.6B", {"architectures": ["Qwen3ForCausalLM"]}, (), "with", "no"),
    ],
)
def test_o12_each_server_says_whether_and_with_what(
    tmp_path: Path, name: str, config: dict[str, object], files: tuple[str, ...], vllm: str, lmdeploy: str
) -> None:
    traits = traits_of(describe_folder(model(tmp_path / name, config=config, files=files)))
    assert {one.server: one.answer.word for one in verdicts(traits)} == {
        "vllm": vllm,
        "lmdeploy": lmdeploy,
        "ollama": "no",
    }


def test_o12_gguf_needs_a_plugin_a_store_or_another_server(tmp_path: Path) -> None:
    (tmp_path / "m-Q4_K_M.gguf").write_bytes(gguf_file([("general.architecture", 8, "llama")]))
    traits = traits_of(describe_folder(tmp_path / "m-Q4_K_M.gguf"))
    answers = {one.server: one for one in verdicts(traits)}
    assert [answers[server].answer.word for server in SERVERS] == ["with", "no", "with"]
    assert "vllm-gguf-plugin" in answers["vllm"].sentences()[0]
    assert "--tokenizer" in answers["vllm"].sentences()[0]


def test_o12_a_qwen3_reranker_gets_the_override_that_is_documented(tmp_path: Path) -> None:
    folder = model(tmp_path / "Qwen3-Reranker-0.6B", config={"architectures": ["Qwen3ForCausalLM"]})
    found = verdict("vllm", traits_of(describe_folder(folder)))
    options = found.document()["options"]
    assert isinstance(options, list)
    assert options[:3] == ["--runner", "pooling", "--hf_overrides"]
    assert json.loads(options[3]) == QWEN3_RERANKER
    assert found.sentences(["vllm", "serve", "x", *options]) == []
    assert "--runner" not in found.sentences(["vllm", "serve", "x", "--runner=pooling"])[0]


def test_o12_a_converted_reranker_needs_no_override(tmp_path: Path) -> None:
    config: dict[str, object] = {"architectures": ["Qwen3ForSequenceClassification"]}
    folder = model(tmp_path / "Qwen3-Reranker-0.6B-seq-cls", config=config)
    assert verdict("vllm", traits_of(describe_folder(folder))).document()["options"] == ["--runner", "pooling"]


def test_o12_what_is_embedding_by_name_alone_is_never_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "my-gte-chat", config={"architectures": ["LlamaForCausalLM"]})
    assert verdict("lmdeploy", traits_of(describe_folder(folder))).answer is Answer.UNKNOWN


def test_o12_every_rule_says_where_it_is_written_and_each_pair_has_one() -> None:
    assert all(rule.source for rule in RULES)
    pairs = [(rule.server, rule.trait) for rule in RULES]
    assert len(pairs) == len(set(pairs))
    both = {trait for server, trait in pairs if server == "vllm"} & {
        trait for server, trait in pairs if server != "vllm"
    }
    assert both == set(Trait)


def table() -> list[str]:
    """Return the table of the page."""
    lines = [
        "| a model that is | " + " | ".join(f"{server} {VERSIONS[server]}" for server in SERVERS) + " | written in |",
        "|---|---|---|---|---|",
    ]
    for trait in Trait:
        rules = {rule.server: rule for rule in RULES if rule.trait is trait}
        cells = []
        for server in SERVERS:
            rule = rules.get(server)
            options = f"`{' '.join(rule.options)}`" if rule and rule.options else ""
            told = ", ".join(filter(None, (options, rule.said))) if rule else ""
            cells.append(f"{rule.answer.word}{': ' if told else ''}{told}" if rule else "")
        sources = "; ".join(dict.fromkeys(rule.source for rule in rules.values()))
        lines.append("| " + " | ".join((trait.value, *cells, sources)) + " |")
    return lines


def test_o12_the_page_shows_the_table_as_it_is() -> None:
    shown = re.findall(r"^\|.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == table()


def test_o12_nobody_says_yes_to_weights_without_a_configuration(tmp_path: Path) -> None:
    """A speech pipeline of PyTorch files names no architecture that a server could know."""
    (tmp_path / "gpt.pth").write_bytes(b"\x80\x02}q\x00." + bytes(100))
    (tmp_path / "config.yaml").write_text("gpt: {}\n", encoding="utf-8")
    answers = {one.server: one.answer.word for one in verdicts(traits_of(describe_folder(tmp_path)))}
    assert answers == {"vllm": "unknown", "lmdeploy": "unknown", "ollama": "no"}
