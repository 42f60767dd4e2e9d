import hashlib

import pytest

from imageworks.detection.formats import readme
from imageworks.detection.formats.readme import Card, license_of_file, read_card, read_readme, signals_of

CARD = """---
license: apache-2.0
base_model:
- Qwen/Qwen2.5-7B
tags:
- chat
- awq
language: [en, no]
library_name: transformers
pipeline_tag: text-generation
model-index:
- name: x
  results: &anchor
  - {a: *anchor}
---
# Title
Weights are quantized by AWQ (w4g128), 4-bit with group size 64. Also as GGUF Q4_K_M. Serve with vLLM or LM Studio.
It supports function calling and a thinking mode.
"""


def test_a_card_and_its_signals_are_read() -> None:
    found = read_readme(CARD.encode())
    assert found.sha256 == hashlib.sha256(CARD.encode()).hexdigest()
    assert found.card == Card(
        licenses=("apache-2.0",),
        base_model=("Qwen/Qwen2.5-7B",),
        tags=("chat", "awq"),
        language=("en", "no"),
        library="transformers",
        task="text-generation",
    )
    assert found.signals == {
        "quant_schemes": ["awq", "gguf", "q4_k_m"],
        "quant_details": ["w4g128", "w4g64"],
        "containers": ["gguf"],
        "backends": ["lm studio", "vllm"],
        "tool_calls": True,
        "reasoning": True,
        "license_hint": "apache-2.0",
    }


def test_large_readmes_are_not_hashed() -> None:
    assert read_readme(b"x" * readme.LARGEST_HASHED).sha256 is None
    assert read_readme(b"x" * (readme.LARGEST_HASHED - 1)).sha256 is not None


def test_another_licence_is_told_by_its_name() -> None:
    card = read_card("---\nlicense: other\nlicense_name: FLUX-1-dev\nlicense_link: LICENSE.md\n---\n")
    assert (card.license, card.license_link) == ("flux-1-dev", "LICENSE.md")
    assert read_card("---\nlicense: other\n---\n").license == "other"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("no front matter", False),
        ("---\nand text, below a line across the page\n", False),
        ("---\ntags: [a, *x]\n---\n", True),
        ("---\ntags: &x [a]\n---\n", True),
        ("---\nlicense: !!python/object/apply:os.system [ls]\n---\n", True),
        ("---\ntags: " + "[" * 5000 + "\n---\n", True),
        ("---\ntags:\n" + "- " * 200 + "x\n---\n", True),
        ("---\ntags:\n" + "- word\n" * 5000 + "---\n", True),
        ("---\ntags: [unclosed\n---\n", True),
        ("---\nlicense: {a: b}\n---\n", False),
    ],
)
def test_hostile_front_matter_is_passed_over(text: str, *, warned: bool) -> None:
    card = read_card(text)
    assert card.license is None
    assert bool(card.warnings) is warned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("License: MIT", "mit"),
        ("released under the **Apache 2.0** license. Licensed under the Apache License, Version 2.0", "apache-2.0"),
        ("license is [Apache-2.0](x)", "apache-2.0"),
        ("License: Llama 3.1 Community", "llama3.1"),
        ("License: cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("License: AGPLv3", "agpl-3.0"),
        ("License: GPL-2.0", "gpl-2.0"),
        ("nothing to see", None),
    ],
)
def test_the_first_licence_in_the_text_is_a_hint(text: str, expected: str | None) -> None:
    assert signals_of(text).get("license_hint") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "                                 Apache License\n                           Version 2.0, January 2004",
            "apache-2.0",
        ),
        ("MIT License\n\nCopyright", "mit"),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "llama3.1"),
        ("Gemma Terms of Use", "gemma"),
        ("something of our own", None),
    ],
)
def test_a_licence_file_is_known_by_its_first_words(text: str, expected: str | None) -> None:
    assert license_of_file(text) == expected


@pytest.mark.parametrize(
    "unit", ["license ", "license:" + " " * 50, "4bit group ", "reasoning ", "---\n", "w4g", "[", "chain of "]
)
def test_patterns_stay_quick_on_a_full_size_readme(unit: str) -> None:
    found = read_readme((unit * (readme.LARGEST_READ // len(unit))).encode())
    assert found.sha256


SOUND = "library_name: transformers\ntags:\n- chat\npipeline_tag: text-generation\n"


@pytest.mark.parametrize(
    ("lines", "licenses", "warned"),
    [
        ("license: apache-2.0\t\n", ["apache-2.0"], True),
        ("license:\tapache-2.0\n", ["apache-2.0"], False),
        ("license: apache-2.0\nbase_model:\n\t- o/base\n", ["apache-2.0"], True),
        ("license: other\nlicense_name: Foo: Bar: x\n", ["foo: bar: x"], True),
        ("license: @x\n", ["@x"], True),
        ('license: "apache-2.0\n', ["apache-2.0"], True),
        ("license: apache\x00-2.0\n", ["apache-2.0"], True),
        ("widget: {text: [\nwrong: Foo: Bar: x\n  - @y\nlicense: mit\n", ["mit"], False),
        ("license: [apache-2.0, MIT]\n", ["apache-2.0", "mit"], False),
        ("license: ['apache-2.0',\n  \"mit\"]\n", ["apache-2.0", "mit"], False),
        ("license:\n- apache-2.0\n- mit # the code\n", ["apache-2.0", "mit"], False),
        ("license:\n  - apache-2.0\n\n  - mit\n", ["apache-2.0", "mit"], False),
        ("license: mit\nmodel-index: x\nlicense: apache-2.0\n", ["mit", "apache-2.0"], False),
        ("license: >-\n  apache-2.0\n", ["apache-2.0"], False),
        ("license: null\n", [], False),
        ("license: &anchor mit\n", [], True),
    ],
)
def test_detection_kind_3_a_slip_in_a_card_costs_nothing_else(lines: str, licenses: list[str], *, warned: bool) -> None:
    card = read_card(f"---\n{lines}{SOUND}---\n# x\n")
    assert list(card.licenses) == licenses
    assert (card.library, card.task) == ("transformers", "text-generation")
    assert "chat" in card.tags
    assert bool(card.warnings) is warned


@pytest.mark.parametrize("size", [350_000, 1_500_000])
def test_detection_kind_3_large_front_matter_is_read_to_its_end(size: int) -> None:
    table = "".join(f"  - value: {number}\n    type: main_score\n" for number in range(size // 35))
    found = read_readme(f"---\ntags:\n- mteb\nmodel-index:\n{table}license: cc-by-nc-4.0\n---\nUse vLLM.\n".encode())
    assert (found.card.license, found.card.tags, found.card.warnings) == ("cc-by-nc-4.0", ("mteb",), ())
    assert found.signals["backends"] == ["vllm"]


def test_detection_kind_3_front_matter_without_an_end_is_read_and_told() -> None:
    card = read_card("---\nlicense: mit\n" + "tags:\n- a\n")
    assert (card.license, card.tags) == ("mit", ("a",))
    assert card.warnings
