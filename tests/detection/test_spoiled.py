"""Spoiled files give answers: a small part of the mutants that ``benchmarks/mutants.py`` makes."""

import pytest

from support.spoiled import spoiled


def test_detection_a_length_beyond_all_files_is_no_pickle() -> None:
    spoiled(86021).describe()  # what a run over 100,000 found


@pytest.mark.parametrize("start", range(0, 1000, 250))
def test_detection_no_mutant_of_headers_configs_and_cards_raises(start: int) -> None:
    for number in range(start, start + 250):
        spoiled(number).describe()
