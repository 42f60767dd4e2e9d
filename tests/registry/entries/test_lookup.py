"""Which model a person means."""

from pathlib import Path

import pytest

from imageworks.registry.entries.lookup import UnknownModelError, find_model
from imageworks.registry.entries.queries import text
from support.serving import merged

MODELS = [
    merged(
        "llama-7b-instruct-vllm-awq",
        "/w/casper/llama-7b-instruct-awq",
        served_model_id="llama",
        model_aliases=["chat"],
        display_name="llama 7b-instruct (AWQ)",
        resolved={"repo": "casperhansen/llama-7b-instruct-awq"},
    ),
    merged("other-vllm", "/w/x/other", model_aliases=["both"]),
    merged("third-vllm", "/w/x/third", model_aliases=["both"]),
    merged("old-vllm", "/w/x/old", model_aliases=["chat"], deprecated=True),
]


@pytest.mark.parametrize(
    "asked",
    [
        "llama-7b-instruct-vllm-awq",
        "LLAMA-7B-instruct-vllm-awq",
        "llama",
        "chat",
        "llama 7b-instruct (AWQ)",
        "casperhansen/llama-7b-instruct-awq",
        "llama-7b-instruct-awq",
        "/w/casper/llama-7b-instruct-awq",
        "/w/casper/llama-7b-instruct-awq/",
    ],
)
def test_any_name_that_one_model_has_will_do(asked: str) -> None:
    assert text(find_model(MODELS, asked), "name") == "llama-7b-instruct-vllm-awq"


def test_a_deprecated_model_is_found_where_nothing_else_is_called_so() -> None:
    assert text(find_model(MODELS, "old-vllm"), "name") == "old-vllm"


def test_a_name_of_several_lists_them() -> None:
    with pytest.raises(UnknownModelError, match="both means several models: other-vllm, third-vllm"):
        find_model(MODELS, "both")


def test_a_path_below_the_home_folder_is_found(isolated_environment: Path) -> None:
    models = [merged("home", isolated_environment / "ai models/x")]
    assert find_model(models, "~/ai models/x") is models[0]


def test_an_unknown_name_is_told_with_near_ones() -> None:
    with pytest.raises(UnknownModelError, match="no model is called 'othr-vllm'") as caught:
        find_model(MODELS, "othr-vllm")
    assert "other-vllm" in str(caught.value.remedy)
    with pytest.raises(UnknownModelError) as caught:
        find_model([], "x")
    assert "list --details" in str(caught.value.remedy)


PINNED = "0123456789" * 4
OF_ONE_REPOSITORY = [
    merged(
        f"many-{quant}",
        f"/w/many-{quant}",
        quantization=quant,
        resolved={"repo": "Acme/Many", "ref": ref},
        source={"huggingface": "acme/old-name", "revision": PINNED},
        display_name=f"na\u00efve {quant}",
    )
    for quant, ref in (("q8_0", "main"), ("q4_k_m", "v2"))
]


@pytest.mark.parametrize(
    "asked",
    [
        "acme/many:Q8_0",
        "hf.co/Acme/Many:Q8_0",
        "HF.co/Acme/Many:q8_0",
        "acme/old-name:q8_0",
        "acme/many@main",
        "many@main",
        "https://huggingface.co/acme/many/tree/main",
        "hf://acme/many@main",
        "nai\u0308ve Q8_0",
        "NA\u00cfVE q8_0",
    ],
)
def test_u3_what_download_takes_is_a_name_of_what_it_brought(asked: str) -> None:
    assert text(find_model(OF_ONE_REPOSITORY, asked), "name") == "many-q8_0"


@pytest.mark.parametrize(
    "asked", ["acme/many", f"acme/many@{PINNED}", "https://huggingface.co/acme/many", "acme/old-name"]
)
def test_u3_several_of_one_repository_are_listed(asked: str) -> None:
    with pytest.raises(UnknownModelError, match="many-q4_k_m, many-q8_0"):
        find_model(OF_ONE_REPOSITORY, asked)
