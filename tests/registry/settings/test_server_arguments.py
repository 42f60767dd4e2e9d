"""Options of servers' command lines: none given twice, the stronger source wins, every spelling known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageworks.registry.settings.server_arguments import merge_options, split_options


@pytest.mark.parametrize(
    ("sources", "merged"),
    [
        ((["--a", "1"], ["--b", "2"]), ["--a", "1", "--b", "2"]),
        ((["--a", "1"], ["--a", "2"]), ["--a", "2"]),
        ((["--max-model-len", "1"], ["--max_model_len=2"]), ["--max_model_len=2"]),
        ((["--a=1"], ["--a", "1"]), ["--a", "1"]),
        ((["--a", "1", "--a", "1"],), ["--a", "1"]),
        ((["--a", "1", "--a=1", "--a", "1"],), ["--a", "1"]),
        ((["--max-len", "1", "--max_len", "1"],), ["--max_len", "1"]),
        ((["--middleware", "x", "--middleware", "y"],), ["--middleware", "x", "--middleware", "y"]),
        ((["--lora", "a=1", "b=2"], ["--x"]), ["--lora", "a=1", "b=2", "--x"]),
        ((["--enable-x"], ["--no-enable-x"]), ["--no-enable-x"]),
        ((["--tensor-parallel-size", "1"], ["-tp", "2"]), ["-tp", "2"]),
        ((["--seed", "-1"], ["--x", "-.5"]), ["--seed", "-1", "--x", "-.5"]),
        ((["word"], ["--x"], ["other"]), ["word", "--x", "other"]),
        (([], ["--json", '{"a b": 1}']), ["--json", '{"a b": 1}']),
    ],
)
def test_a_later_source_replaces_an_option_of_an_earlier_one(sources: tuple[list[str], ...], merged: list[str]) -> None:
    assert merge_options(*sources) == merged


words = st.lists(st.sampled_from(["--a", "--b=1", "--no-a", "-tp", "x", "1", "-1", "--c_d", "--c-d"]), max_size=8)


@given(words, words)
def test_the_stronger_source_stands_whole_and_what_it_names_in_the_weaker_goes(
    weak: list[str], strong: list[str]
) -> None:
    merged = merge_options(weak, strong)
    own = merge_options(strong)
    assert merged[len(merged) - len(own) :] == own
    named = {option.name for option in split_options(strong) if option.name}
    left = split_options(merged[: len(merged) - len(own)])
    assert named.isdisjoint(option.name for option in left)


@given(words)
def test_no_two_options_of_one_command_line_say_the_same(given_words: list[str]) -> None:
    said = [option.meaning for option in split_options(merge_options(given_words)) if option.name]
    assert len(said) == len(set(said))
