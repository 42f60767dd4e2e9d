"""The right answers for real repositories, by names and configs alone; ``benchmarks/detect.py`` shows them by field."""

import pytest

from detect.repositories import REPOSITORIES, Repository, answers

KNOWN_MISSES: dict[tuple[str, str], str] = {}
"""Repository and field to why the right answer cannot be found; empty as long as all are."""


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda repository: repository.repo)
def test_a_repository_gets_its_right_answers(repository: Repository) -> None:
    compared = {
        field: pair for field, pair in answers(repository).items() if (repository.repo, field) not in KNOWN_MISSES
    }
    expected = {field: pair[0] for field, pair in compared.items()}
    assert {field: pair[1] for field, pair in compared.items()} == expected


def test_the_table_is_large_and_varied() -> None:
    assert len(REPOSITORIES) >= 80
    assert len({repository.repo for repository in REPOSITORIES}) == len(REPOSITORIES)
    assert len({repository.quantization for repository in REPOSITORIES}) >= 15
    assert len({repository.container for repository in REPOSITORIES}) >= 8
