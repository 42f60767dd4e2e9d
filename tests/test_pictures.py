"""The pictures of README and documentation: that they can be made anew, and stay small."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parent.parent
TERMINAL = ("first-screen", "plan", "progress", "list", "doctor", "error", "status")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here: apt install chromium")
@pytest.mark.timeout(600)  # some twenty programs, one after the other
def test_pictures_can_be_made_anew(tmp_path: Path) -> None:
    code = "import sys, pathlib, pictures; pictures.make(pathlib.Path(sys.argv[1]), real=False, views=['index'])"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'scripts'}"}
    words = [sys.executable, "-c", code, str(tmp_path / "made")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in TERMINAL:
        drawn = (tmp_path / f"made/{name}.svg").read_text(encoding="utf-8")
        assert "imageworks-models" in "".join(ET.fromstring(drawn).itertext())  # noqa: S314 - our own
        assert str(tmp_path) not in drawn
    shown = sorted((tmp_path / "made").glob("*.webp"))
    assert [path.stem for path in shown] == [
        f"index-{width}-{look}" for width in (1600, 360) for look in ("dark", "light")
    ]
    assert all(path.read_bytes().startswith(b"RIFF") for path in shown)


def test_pictures_that_are_shown_are_there_and_small() -> None:
    kept = {path.name for path in (ROOT / "docs/pictures").iterdir()}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"\]\([^)]*pictures/([\w.-]+)\)", page.read_text("utf-8"))}
    assert shown
    assert shown <= kept
    assert sum(path.stat().st_size for path in (ROOT / "docs/pictures").iterdir()) <= 200 * 1024
