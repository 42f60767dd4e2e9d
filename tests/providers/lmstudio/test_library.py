"""What LM Studio sees below its folder, by names alone."""

from pathlib import Path

import pytest

from imageworks.providers.lmstudio.library import StudioModel, observe_studio, studio_identity


def put(file: Path, size: int = 3) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)


def test_a_model_is_a_folder_of_a_publisher_with_weights_in_it(tmp_path: Path) -> None:
    root = tmp_path / "llm models"
    for file in ("b/two/x.gguf", "a b/one/y-Q4_K_M.gguf", "a b/one/mmproj-y.gguf", "a b/mlx/model.safetensors"):
        put(root / file)
    for other in ("top.gguf", "a b/high.gguf", "a b/one/deep/z.gguf", ".hidden/m/x.gguf", "a b/notes/n.txt"):
        put(root / other)
    put(root / "a b/half/x.gguf.part")
    (root / "a b/one/dangling.gguf").symlink_to("nowhere")
    (root / "a b/one/folder.gguf").mkdir()
    assert list(observe_studio(root)) == [
        StudioModel("a b/mlx", root / "a b/mlx", ("model.safetensors",), (), 3),
        StudioModel("a b/one", root / "a b/one", ("y-Q4_K_M.gguf",), ("mmproj-y.gguf",), 6),
        StudioModel("b/two", root / "b/two", ("x.gguf",), (), 3),
    ]


def test_a_folder_that_is_not_there_or_is_none_is_empty(tmp_path: Path) -> None:
    assert list(observe_studio(tmp_path / "gone")) == []
    put(tmp_path / "file")
    assert list(observe_studio(tmp_path / "file")) == []


@pytest.mark.parametrize(
    ("model", "weights", "identity"),
    [
        ("p/m", ["x-00002-of-00002.gguf", "x-00001-of-00002.gguf"], "p/m/x-00001-of-00002.gguf"),
        ("p/m", ["model.safetensors"], "p/m"),
        ("p/m", ["deep/x.gguf"], None),
        ("p/m", [], None),
        ("p", ["x.gguf"], None),
        ("p/m/n", ["x.gguf"], None),
        ("../elsewhere/m", ["x.gguf"], None),
    ],
)
def test_what_lm_studio_calls_a_model(model: str, weights: list[str], identity: str | None) -> None:
    folder = Path("/elsewhere/m") if model.startswith("..") else Path("/models") / model
    assert studio_identity(Path("/models"), folder, weights) == identity
