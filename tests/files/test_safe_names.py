"""Every kind of name that must not reach the disk, and those that must (I8)."""

import pytest

from imageworks.files.safe_names import UnsafeNameError, check_names, check_relative_name

REFUSED = {
    "empty": ("", "empty"),
    "dot": (".", "part '.'"),
    "dot dot": ("..", "part '..'"),
    "up": ("../x", "part '..'"),
    "up inside": ("a/../../x", "part '..'"),
    "absolute": ("/etc/passwd", "absolute"),
    "backslash": ("a\\..\\b", "backslash"),
    "unc": ("\\\\server\\share", "backslash"),
    "unc with slashes": ("//server/share", "absolute"),
    "drive": ("C:/x", "':'"),
    "drive relative": ("C:x", "':'"),
    "hidden stream": ("model.bin:evil", "':'"),
    "wildcard": ("a*b", "'*'"),
    "device": ("con", "device"),
    "device with extension": ("sub/AUX.txt", "device"),
    "device with spaces": ("nul .tar.gz", "device"),
    "superscript device": ("COM\u00b9", "device"),
    "console": ("CONOUT$", "device"),
    "nul character": ("a\0b", "U+0000"),
    "newline": ("a\nb", "U+000A"),
    "escape": ("a\x1b[2Jb", "U+001B"),
    "bidi": ("a\u202efdp.exe", "U+202E"),
    "zero width": ("a\u200bb", "U+200B"),
    "line separator": ("a\u2028b", "U+2028"),
    "surrogate": ("a\ud800b", "U+D800"),
    "delete": ("a\x7fb", "U+007F"),
    "long part": ("x" * 256, "longer than 255"),
    "long part in bytes": ("\u65e5" * 86, "longer than 255"),
    "long name": ("/".join(["x" * 200] * 6), "longer than 1024"),
    "deep": ("/".join("x" * 33), "deeper"),
    "git": (".git/config", "git"),
    "git in capitals": ("sub/.GIT/hooks/post-checkout", "git"),
    "git short name": ("git~1/config", "git"),
    "hub cache": (".cache/huggingface/x", "cache"),
    "staging": (".imageworks/staging/x", "staging"),
    "trailing dot": ("a./b", "Windows drops"),
    "trailing space": ("a ", "Windows drops"),
    "leading space": ("a/ b", "Windows drops"),
    "control file": ("model.bin.aria2", "aria2"),
    "empty part": ("a//b", "empty"),
    "trailing slash": ("a/", "empty"),
}
ACCEPTED = [
    "config.json",
    ".gitattributes",
    ".gitignore",
    "model-00001-of-00002.safetensors",
    "Q4_K_M/qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
    "1_Pooling/config.json",
    "\u65e5\u672c\u8a9e/\u00e9t\u00e9.txt",
    "a b (c) [d] {e} #f %g &h 'i' !j.txt",
    "console.log",
    "com10",
    "auxiliary/nulls.bin",
    "..hidden",
    "a..b",
    ".cache/other",
    "-rf",
    "x.aria2c",
]


@pytest.mark.parametrize(("name", "why"), REFUSED.values(), ids=REFUSED)
def test_a_dangerous_name_is_refused_and_the_message_says_why(name: str, why: str) -> None:
    with pytest.raises(UnsafeNameError) as caught:
        check_relative_name(name)
    assert why in caught.value.why
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_ordinary_name_is_returned_unchanged(name: str) -> None:
    assert check_relative_name(name) is name


@pytest.mark.parametrize(
    "names",
    [
        ["README.md", "readme.md"],
        ["caf\u00e9", "cafe\u0301"],
        ["Dir/a", "dir/b"],
        ["stra\u00dfe", "STRASSE"],
        ["a", "a"],
        ["a", "a/b"],
        ["a/b", "a"],
        ["a/b/c", "a/b"],
        ["fine", "not\\fine"],
    ],
)
def test_names_that_would_be_one_file_somewhere_are_refused_together(names: list[str]) -> None:
    with pytest.raises(UnsafeNameError):
        check_names(names)


def test_a_whole_listing_of_ordinary_names_is_accepted() -> None:
    check_names(ACCEPTED)
