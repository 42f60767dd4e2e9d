"""pin, outdated and update of models of Ollama, whose pins are digests of manifests."""

from support.ollama_world import NAME, OllamaWorld, started_ollama
from support.reconcile import Result, command

__all__ = ["started_ollama"]


def run(ollama: OllamaWorld, *words: str, code: int = 0) -> Result:
    result = command(*words, "--registry", ollama.world.root)
    assert result.code == code, result
    return result


def standing(ollama: OllamaWorld) -> dict[str, object]:
    models = run(ollama, "outdated", "--json").json["models"]
    assert isinstance(models, list)
    (found,) = models
    return dict(found)


def manifest(ollama: OllamaWorld) -> str:
    return (ollama.world.root / f"models/{NAME}.yaml").read_text(encoding="utf-8")


def declared(ollama: OllamaWorld, more: str = "") -> None:
    text = f"schema_version: 1\nsource:\n    ollama: '{ollama.name}'   # the small one\n{more}backend: ollama\n"
    ollama.world.write(f"models/{NAME}.yaml", text)


def test_a_tag_is_pinned_to_what_is_installed_and_moves_when_it_is_updated(ollama: OllamaWorld) -> None:
    first = ollama.offer("first")
    declared(ollama)
    ollama.world.reconcile()
    assert standing(ollama)["standing"] == "current"
    second = ollama.offer("second")
    found = standing(ollama)
    assert (found["standing"], found["pinned"], found["latest"]) == ("outdated", False, f"sha256:{second.digest}")
    run(ollama, "pin")
    assert f'   # the small one\n    digest: "sha256:{first.digest}" # 20' in manifest(ollama)
    assert ollama.world.plan().changes == {}
    shown = run(ollama, "outdated").out
    assert f"{first.digest[:12]} -> {second.digest[:12]}" in shown
    assert "added: " in shown
    assert run(ollama, "outdated", "--min-age", "3", "--detailed-exitcode").code == 0
    assert "does not say how old" in run(ollama, "update", NAME, "--min-age", "3").err
    before = manifest(ollama)
    run(ollama, "update")
    assert manifest(ollama) == before.replace(first.digest, second.digest)
    assert ollama.world.plan().changes == {NAME: ("update", "revision-changed")}
    ollama.world.reconcile()
    assert standing(ollama)["standing"] == "current"


def test_what_is_not_installed_is_pinned_to_what_its_registry_has(ollama: OllamaWorld) -> None:
    offered = ollama.offer()
    declared(ollama)
    assert standing(ollama)["standing"] == "not-installed"
    run(ollama, "pin")
    assert offered.digest in manifest(ollama)
    assert standing(ollama)["standing"] == "current"


def test_a_registry_that_has_it_no_more_or_does_not_answer_is_said(ollama: OllamaWorld) -> None:
    declared(ollama)
    assert "its registry has no such model" in run(ollama, "pin", code=1).err
    declared(ollama, f"    digest: {'a' * 64}\n")
    assert "has no such model any more" in str(standing(ollama)["message"])
    assert "could not ask" in run(ollama, "outdated", "--offline").err
    ollama.models.stop()
    assert standing(ollama)["standing"] == "unknown"


def test_a_model_that_is_made_here_follows_nothing(ollama: OllamaWorld) -> None:
    declared(ollama, "    modelfile: {from: base}\n")
    assert standing(ollama)["standing"] == "not-followed"
