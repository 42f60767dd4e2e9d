"""Laws of choosing: whatever a repository holds, each file comes or has a reason, and order does not matter."""

import contextlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.files.safe_names import UnsafeNameError
from imageworks.providers.selection.model import Selection, SelectionError, SelectionRequest
from imageworks.providers.selection.requested_files import request_of
from imageworks.providers.selection.select import select
from imageworks.registry.manifests.manifest import read_manifest
from imageworks.registry.manifests.portion import are_disjoint, portion_of

DIGEST = Digest(Algorithm.GIT_BLOB, "0" * 40)
FOLDERS = ("", "onnx/", "unet/", "vae/", "original/", "checkpoint-5/", "fp16/", "en/", "x/y/", "mmproj/", "examples/")
STEMS = (
    "model",
    "pytorch_model",
    "consolidated",
    "tf_model",
    "spk",
    "mmproj-x",
    "x-4B",
    "lora",
    "README",
    "config",
    "",
)
MARKS = ("", ".fp16", "-Q4_K_M", "_q4", "-00001-of-00002", "-00002-of-00002", "_quantized", ".index", "-00000-of-00000")
SUFFIXES = (
    ".safetensors",
    ".bin",
    ".pt",
    ".onnx",
    ".onnx_data",
    ".gguf",
    ".json",
    ".png",
    ".npz",
    ".xml",
    ".h5",
    ".py",
    "",
)
NAMES = st.builds(
    "{}{}{}{}".format, *(st.sampled_from(options) for options in (FOLDERS, STEMS, MARKS, SUFFIXES))
) | st.text("abAB./-_?:1\x1b", min_size=1, max_size=9)
LISTINGS = st.lists(st.tuples(NAMES, st.integers(0, 10**10)), max_size=14, unique_by=lambda one: one[0])
REQUESTS = st.builds(
    SelectionRequest,
    format=st.sampled_from([None, None, "safetensors", "gguf", "onnx", "awq"]),
    quantization=st.sampled_from([None, None, "q4_k_m", "fp16", "q4", "nonsense", "awq"]),
    include=st.sampled_from([(), (), ("*",), ("*.gguf", "config*")]),
    exclude=st.sampled_from([(), (), ("*.png",), ("model*",)]),
    weights=st.sampled_from([(), (), ("*.safetensors",)]),
    subfolder=st.sampled_from([None, None, "onnx", "x"]),
    optional=st.booleans(),
)

PATHS = tuple(f"{folder}{stem}{suffix}" for folder in ("", "x/", "y/", "x/y/") for stem in ("a", "ab", "b-1", "B-2")
              for suffix in (".gguf", ".safetensors", "-00001-of-00001.gguf"))  # fmt: skip
GLOBS = st.one_of(
    st.sampled_from(PATHS),
    st.builds(lambda path: path.rpartition("/")[2], st.sampled_from(PATHS)),
    st.builds(lambda path, cut: f"{path[:cut]}*", st.sampled_from(PATHS), st.integers(0, 6)),
    st.builds(lambda path, cut: f"*{path[cut:]}", st.sampled_from(PATHS), st.integers(0, 6)),
)
PARTS = st.one_of(
    st.builds(lambda globs: {"weights": globs}, st.lists(GLOBS, min_size=1, max_size=3)),
    st.builds(lambda globs: {"include": [*globs, "*.json"]}, st.lists(GLOBS, min_size=1, max_size=3)),
    st.builds(lambda folder: {"subfolder": folder}, st.sampled_from(("x", "y", "x/y", "y/"))),
)


def chosen(files: list[RemoteFile], request: SelectionRequest) -> Selection | None:
    with contextlib.suppress(SelectionError, UnsafeNameError):
        return select(files, request)
    return None


@given(LISTINGS, REQUESTS, st.randoms(use_true_random=False))
def test_each_file_comes_or_has_a_reason_in_any_order(
    listed: list[tuple[str, int]], request: SelectionRequest, shuffled: Random
) -> None:
    files = [RemoteFile(path, size, DIGEST, large=False) for path, size in listed]
    selection = chosen(files, request)
    mixed = list(files)
    shuffled.shuffle(mixed)
    assert chosen(mixed, request) == selection
    if selection is None:
        return
    came, left = {file.path for file in selection.files}, {one.path for one in selection.left_out}
    assert came
    assert not came & left
    assert came | left == {file.path for file in files}
    assert all(not one.instead or one.instead in came for one in selection.left_out)
    again = chosen(list(selection.files), SelectionRequest(include=tuple(sorted(came))))
    assert again is None or {file.path for file in again.files} == came or any(set("?*[") & set(path) for path in came)


@given(PARTS, PARTS)
def test_parts_that_may_share_a_folder_have_no_weights_in_common(
    one: dict[str, object], other: dict[str, object]
) -> None:
    files = [RemoteFile(path, 1000, DIGEST, large=False) for path in (*PATHS, "config.json")]
    manifests = [
        read_manifest(f"models/{name}.yaml", {"source": {"huggingface": "acme/many", **source}})
        for name, source in (("one", one), ("other", other))
    ]
    assert are_disjoint(*map(portion_of, manifests)) == are_disjoint(*map(portion_of, manifests[::-1]))
    assert not are_disjoint(*[portion_of(manifests[0])] * 2)
    if are_disjoint(*map(portion_of, manifests)):
        taken = [found for manifest in manifests if (found := chosen(files, request_of(manifest))) is not None]
        weights = [{file.path for file in found.files if file.path != "config.json"} for found in taken]
        assert len(weights) < len(manifests) or not weights[0] & weights[1]
