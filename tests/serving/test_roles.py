"""Which model a role means: a total order, and a clear word when there is none."""

import random
from pathlib import Path

import pytest

from imageworks.registry.entries.queries import text
from imageworks.serving.roles import RoleError, base_url, candidates, choose
from support.serving import merged


def captioner(name: str, path: Path | None, priority: int | None = None, **fields: object) -> dict[str, object]:
    said = {} if priority is None else {"role_priority": {"caption": priority}}
    return {**merged(name, path, roles=["caption"], **said), **fields}


def test_the_highest_priority_wins_and_names_decide_between_equals(tmp_path: Path) -> None:
    models = [
        captioner("c", tmp_path, 50),
        captioner("b", tmp_path, 90),
        captioner("a", tmp_path, 90),
        captioner("without", tmp_path),
    ]
    for _ in range(10):
        random.shuffle(models)
        assert [text(one.model, "name") for one in candidates(models, "caption")] == ["a", "b", "c", "without"]
        assert text(choose(models, "caption").model, "name") == "a"


def test_deprecated_missing_and_testing_models_are_passed_over(tmp_path: Path) -> None:
    models = [
        captioner("old", tmp_path, 99, deprecated=True),
        captioner("gone", tmp_path / "gone", 98),
        captioner("logical", None, 97),
        captioner("mine-testzzz", tmp_path, 96),
        captioner("marked", tmp_path, 95, metadata={"testing": True}),
        captioner("trial-7", tmp_path, 94),
        captioner("here", tmp_path, 1),
    ]
    assert text(choose(models, "caption", patterns="^trial").model, "name") == "here"
    shown = candidates(models, "caption", patterns="^trial")
    assert [text(one.model, "name") for one in shown] == ["here", "old", "gone", "logical"]
    assert [one.usable for one in shown] == [True, False, False, False]


def test_none_that_can_be_used_says_why_of_each(tmp_path: Path) -> None:
    models = [captioner("old", tmp_path, deprecated=True), captioner("gone", tmp_path / "gone")]
    with pytest.raises(RoleError, match=r"no installed model has the role 'caption'") as caught:
        choose(models, "caption")
    assert "old (deprecated)" in caught.value.message
    assert "gone (not installed)" in caught.value.message


def test_an_unknown_role_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(RoleError, match="no model has the role 'captoin'") as caught:
        choose([captioner("a", tmp_path)], "captoin")
    assert "'caption'" in str(caught.value.remedy)
    with pytest.raises(RoleError) as caught:
        choose([], "caption")
    assert "No model has any role yet" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, None),
        ({"port": 24001}, "http://localhost:24001/v1"),
        ({"port": 24001, "host": "gpu1"}, "http://gpu1:24001/v1"),
        ({"port": 1, "base_url": "https://x/v1"}, "https://x/v1"),
    ],
)
def test_where_a_model_answers_follows_from_its_record(config: dict[str, object], url: str | None) -> None:
    assert base_url(merged("m", backend_config=config)) == url


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"host": "host.docker.internal"}, "http://host.docker.internal:11434/v1"),
        ({}, "http://localhost:11434/v1"),
        ({"host": "gpu1:8080"}, "http://gpu1:8080/v1"),
        ({"host": "gpu1", "port": 80}, "http://gpu1:80/v1"),
        ({"host": "https://gpu1/"}, "https://gpu1/v1"),
    ],
)
def test_ollama_answers_at_its_own_port_unless_another_is_named(config: dict[str, object], url: str) -> None:
    assert base_url(merged("m", backend="ollama", backend_config=config)) == url
