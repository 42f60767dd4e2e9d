"""The right answers for the repositories of the corpus; ``python benchmarks/detect.py`` shows them by field."""

from collections import Counter
from pathlib import Path

import pytest

from support.corpus import FOLDER, Repository, corpus, read_repository

KNOWN_MISSES: dict[tuple[str, str], str] = {
    ("hexgrad/Kokoro-82M", "capabilities"): "its voices are packed with it, and no sound goes in",
}
"""Repository and field to why the right answer is not found."""
LEAST = 0.99

REPOSITORIES = corpus()


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda repository: repository.repo)
def test_a_repository_gets_its_right_answers(repository: Repository) -> None:
    wrong = {name: answer[:2] for name, answer in repository.answers().items() if not answer[2]}
    assert {name for name in wrong if (repository.repo, name) not in KNOWN_MISSES} == set(), wrong


def test_at_most_one_answer_in_a_hundred_is_missed_by_field() -> None:
    asked = Counter(name for one in REPOSITORIES for name in one.answers())
    missed = Counter(name for _, name in KNOWN_MISSES)
    assert {name: 1 - missed[name] / count for name, count in asked.items() if missed[name] > count * (1 - LEAST)} == {}


def test_what_is_known_to_be_missed_is_missed() -> None:
    by_name = {one.repo: one for one in REPOSITORIES}
    assert [pair for pair in KNOWN_MISSES if by_name[pair[0]].answers()[pair[1]][2]] == []


def test_the_corpus_is_large_and_varied() -> None:
    assert len(REPOSITORIES) >= 200
    assert len({one.repo for one in REPOSITORIES}) == len(REPOSITORIES)
    for name, least in (("quantization", 20), ("container", 9), ("kind", 4), ("family", 15)):
        assert len({str(one.expected.get(name)) for one in REPOSITORIES}) >= least, name
    for name, least in (("parameters", 100), ("context", 100), ("layers", 150), ("active", 25), ("experts", 25)):
        assert sum(name in one.expected for one in REPOSITORIES) >= least, name


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_is_called_after_its_repository(path: Path) -> None:
    assert path.stem == read_repository(path).repo.replace("/", "--")
    assert path.stat().st_size < 1 << 14
