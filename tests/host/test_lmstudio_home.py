"""Where LM Studio is found: its pointer, its settings, its folders, and a Windows beside."""

import json
from pathlib import Path

import pytest

from imageworks.host import lmstudio_home as lmstudio
from imageworks.host.lmstudio_home import LmStudio, find_lmstudio, to_wsl
from imageworks.host.settings import load_host_settings
from imageworks.providers.libraries import locations_here


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mount the drives of a Windows; returns the folder of its users."""
    monkeypatch.setattr(lmstudio, "DRIVES", tmp_path / "mnt")
    users = tmp_path / "mnt/c/Users"
    users.mkdir(parents=True)
    return users


def settings(home: Path, content: object) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "settings.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def only() -> LmStudio:
    (found,) = find_lmstudio()
    return found


def test_nothing_is_found_where_nothing_is(isolated_environment: Path) -> None:
    assert find_lmstudio() == ()
    (isolated_environment / ".lmstudio-home-pointer").write_text("/not there", encoding="utf-8")
    assert find_lmstudio() == ()
    assert not (isolated_environment / ".lmstudio").exists()


def test_the_older_home_comes_before_the_usual_one_and_the_pointer_before_both(isolated_environment: Path) -> None:
    home = isolated_environment
    (home / ".lmstudio").mkdir()
    assert only() == LmStudio(home / ".lmstudio", home / ".lmstudio/models")
    (home / ".cache/lm-studio").mkdir(parents=True)
    assert only().home == home / ".cache/lm-studio"
    moved = home / "my studio"
    (home / ".lmstudio-home-pointer").write_text(f"{moved}\n", encoding="utf-8")
    assert only().home == home / ".cache/lm-studio"  # the pointer leads nowhere
    moved.mkdir()
    assert only() == LmStudio(moved, moved / "models")
    (home / ".lmstudio-home-pointer").write_text("~/my studio", encoding="utf-8")
    assert only().home == moved


def test_the_models_are_where_its_settings_say(isolated_environment: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "big disk/my models"
    elsewhere.mkdir(parents=True)
    settings(isolated_environment / ".lmstudio", {"downloadsFolder": str(elsewhere), "other": [1]})
    assert only().models == elsewhere
    host = load_host_settings()
    assert host.allows(elsewhere / "publisher/model")
    assert locations_here(host)["lmstudio"].path == str(elsewhere)
    assert locations_here(host)["lmstudio"].layout == "publisher/repo"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", None),
        ({}, None),
        ({"downloadsFolder": None}, None),
        ({"downloadsFolder": 7}, None),
        ({"downloadsFolder": "models"}, "is no folder of models here"),
        ({"downloadsFolder": "/"}, "is no folder of models here"),
        ({"downloadsFolder": "~"}, "is no folder of models here"),
        ({"downloadsFolder": "/a\0b"}, "is no folder of models here"),
        ({"downloadsFolder": "x" * 2_000_000}, None),
    ],
)
def test_settings_that_lead_nowhere_leave_the_usual_folder(
    isolated_environment: Path, content: object, problem: str | None
) -> None:
    home = isolated_environment / ".lmstudio"
    settings(home, content)
    found = only()
    assert found.models == home / "models"
    assert (found.problem is None) == (problem is None)
    assert problem is None or problem in str(found.problem)
    assert not load_host_settings().allows(Path("/etc"))


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (r"C:\Users\Ada Lovelace\.lmstudio", "c/Users/Ada Lovelace/.lmstudio"),
        ("d:/ai stuff/models", "d/ai stuff/models"),
        ("D:\\", "d"),
        (r"E:\a\..\b\\c", "e/b/c"),
        (r"\\server\share", None),
        ("relative", None),
        (r"C:relative", None),
        ("C:\\a\0b", None),
        ("", None),
    ],
)
def test_paths_of_windows_as_wsl_sees_them(windows: Path, written: str, seen: str | None) -> None:
    assert to_wsl(written) == (windows.parents[1] / seen if seen is not None else None)


def test_paths_of_wsl_as_windows_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSL_DISTRO_NAME", "Ubuntu")
    assert to_wsl(r"\\wsl.localhost\Ubuntu\home\ada\models") == Path("/home/ada/models")
    assert to_wsl(r"\\wsl$\ubuntu\home\ada") == Path("/home/ada")
    assert to_wsl(r"\\wsl$\Debian\home\ada") is None
    assert to_wsl("/home/ada/x/..") == Path("/home/ada")


def test_the_windows_beside_is_looked_at_too(windows: Path, isolated_environment: Path) -> None:
    for name in ("Public", "Default", "All Users", "Bob"):
        (windows / name).mkdir()
    (windows / "Public/.lmstudio").mkdir()
    (windows / "desktop.ini").touch()
    ada = windows / "Ada Lovelace"
    drive = windows.parents[1] / "d"
    models = drive / "ai stuff/llm models"
    models.mkdir(parents=True)
    settings(drive / "studio", {"downloadsFolder": r"D:\ai stuff\llm models"})
    ada.mkdir()
    (ada / ".lmstudio-home-pointer").write_text("D:\\studio\r\n", encoding="utf-8")
    (isolated_environment / ".lmstudio/models").mkdir(parents=True)
    own, beside = find_lmstudio()
    assert own.home == isolated_environment / ".lmstudio"
    assert beside == LmStudio(drive / "studio", models, windows=True)
    host = load_host_settings()
    assert host.allows(models)
    assert {name: place.path for name, place in locations_here(host).items()} == {
        "linux_wsl": "~/ai-models/weights",
        "windows_lmstudio": str(models),
        "lmstudio": "~/.lmstudio/models",
    }


@pytest.mark.parametrize("folder", ["C:\\", "D:\\", "C:\\Users", "C:\\Users\\Ada"])
def test_a_whole_drive_or_home_is_not_taken_for_a_folder_of_models(windows: Path, folder: str) -> None:
    settings(windows / "Ada/.lmstudio", {"downloadsFolder": folder})
    assert only().models == windows / "Ada/.lmstudio/models"
    assert "downloadsFolder" in str(only().problem)
    assert not load_host_settings().allows(windows / "Ada/secret")


def test_what_cannot_be_read_is_passed_over(windows: Path, isolated_environment: Path) -> None:
    (isolated_environment / ".lmstudio-home-pointer").mkdir()
    (isolated_environment / ".lmstudio").mkdir()
    (isolated_environment / ".lmstudio/settings.json").write_bytes(b"\xff\xfe\x00")
    assert only().models == isolated_environment / ".lmstudio/models"
    windows.rmdir()
    assert len(find_lmstudio()) == 1
