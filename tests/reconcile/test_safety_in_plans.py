"""What can run code when a model is loaded is told in the plan and recorded in the entry; what servers miss, too."""

import json

from support.reconcile import MODEL, NAME, World

CONFIG = {
    "model_type": "custom",
    "architectures": ["CustomForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_custom.CustomForCausalLM"},
}
RISKY = {**MODEL, "config.json": json.dumps(CONFIG).encode(), "modeling_custom.py": b"print()"}


def test_the_plan_warns_and_the_entry_records(world: World) -> None:
    world.serve(RISKY)
    world.declare()
    result = world.reconcile()
    assert "modeling_custom.py can run code when it is loaded" in result.out
    metadata = world.entry()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["safety"]["remote_classes"] == ["modeling_custom.CustomForCausalLM"]
    assert [file["path"] for file in metadata["safety"]["runs_code"]] == ["modeling_custom.py"]


def test_a_plan_over_safe_files_has_no_warnings(world: World) -> None:
    world.serve()
    world.declare()
    assert "warning" not in world.reconcile("--dry-run").out


def test_a_chat_model_without_a_template_is_told_of_for_each_server(world: World) -> None:
    chat = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}
    world.serve({**MODEL, "config.json": json.dumps(chat).encode()})
    world.declare(NAME)
    world.reconcile()
    metadata = world.entry()["metadata"]
    assert isinstance(metadata, dict)
    assert set(metadata["preflight"]) == {"vllm", "lmdeploy"}
    assert metadata["preflight"]["vllm"][0].startswith("no chat template")
