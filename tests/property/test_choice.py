"""Laws of choosing: whatever a repository holds, each file comes or has a reason, and order does not matter."""

import contextlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from imageworks.providers.select import select
from imageworks.providers.select_values import Request, Selection, SelectionError
from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.names import UnsafeNameError

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
    Request,
    format=st.sampled_from([None, None, "safetensors", "gguf", "onnx", "awq"]),
    quantization=st.sampled_from([None, None, "q4_k_m", "fp16", "q4", "nonsense", "awq"]),
    include=st.sampled_from([(), (), ("*",), ("*.gguf", "config*")]),
    exclude=st.sampled_from([(), (), ("*.png",), ("model*",)]),
    weights=st.sampled_from([(), (), ("*.safetensors",)]),
    subfolder=st.sampled_from([None, None, "onnx", "x"]),
    optional=st.booleans(),
)


def chosen(files: list[RemoteFile], request: Request) -> Selection | None:
    with contextlib.suppress(SelectionError, UnsafeNameError):
        return select(files, request)
    return None


@given(LISTINGS, REQUESTS, st.randoms(use_true_random=False))
def test_each_file_comes_or_has_a_reason_in_any_order(
    listed: list[tuple[str, int]], request: Request, shuffled: Random
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
    again = chosen(list(selection.files), Request(include=tuple(sorted(came))))
    assert again is None or {file.path for file in again.files} == came or any(set("?*[") & set(path) for path in came)
