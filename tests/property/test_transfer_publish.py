"""Whatever was in a directory, a publish leaves exactly the new files and those that are not ours (I1, I5)."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.files.errors import PublishError
from imageworks.files.publish import PublishMethod, publish, recover
from imageworks.files.removal import remove_owned
from imageworks.files.staging import StagingArea
from support.transfer import stage, tree, write

NAMES = st.sampled_from(["a", "b", "sub/a", "sub/b", "sub/deep/c", "other/d"])
FILES = st.dictionaries(NAMES, st.binary(max_size=3), max_size=5)


@settings(max_examples=60, deadline=None)
@given(old=FILES, owned=st.frozensets(NAMES), new=FILES, method=st.sampled_from(PublishMethod))
def test_a_publish_leaves_the_new_files_and_the_foreign_ones(
    old: dict[str, bytes], owned: frozenset[str], new: dict[str, bytes], method: PublishMethod
) -> None:
    foreign = {name: data for name, data in old.items() if name not in owned}
    with tempfile.TemporaryDirectory() as folder:
        root, target = Path(folder), Path(folder) / "owner" / "repo"
        write(target, old)
        area = StagingArea.open(root, "key", target=target)
        stage(area, new)
        if any(new.get(name, data) != data for name, data in foreign.items()):
            with pytest.raises(PublishError, match="not ours"):
                publish(area, target, owned=owned, method=method)
            assert tree(target) == old
            assert tree(area.tree) == new
            return
        publish(area, target, owned=owned, method=method)
        assert tree(target) == new | foreign
        assert recover(root) == ()
        remove_owned(target, new, root)
        assert tree(root) == {f"owner/repo/{name}": data for name, data in foreign.items() if name not in new}
