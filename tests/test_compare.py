"""What `python -m benchmarks compare` says of a difference: no more than its rounds show."""

import pytest
from benchmarks.compare import verdict


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([0.8] * 9, "less"),
        ([1.2] * 8 + [0.9], "no difference seen"),
        ([1.2] * 9 + [0.9], "more"),
        ([0.8, 0.9, 1.1, 1.2, 0.7, 1.3], "no difference seen"),
        ([0.5, 0.5], "no difference seen"),
    ],
)
def test_a_difference_is_told_only_where_nearly_all_rounds_agree(ratios: list[float], said: str) -> None:
    assert verdict(ratios) == said
