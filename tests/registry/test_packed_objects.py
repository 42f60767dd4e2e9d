"""Objects that are kept as texts in one piece."""

import pytest

from imageworks.registry.entries.packed import packed_models

LINES = (b'[\n{"name": "a", "n": 1},\n', b'{"name": "b"},\n{"name": "c"}\n]\n')


@pytest.mark.parametrize("small", [False, True])
def test_models_in_one_piece_are_those_of_the_snapshot(*, small: bool) -> None:
    models = packed_models(LINES, small=small)
    expected = [{"name": "a", "n": 1}, {"name": "b"}, {"name": "c"}]
    assert list(models) == expected
    assert len(models) == len(expected)
    assert models[-1] == expected[-1]
    assert models[1:] == expected[1:]
    with pytest.raises(IndexError):
        models[3]
