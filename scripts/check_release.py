"""Refuse to release what is not whole: the tag, both versions and the changelog agree, and the addresses are real."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def problems(tag: str, root: Path) -> list[str]:
    """Return what is wrong with a release of a checkout under a tag."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    module = (root / "controller/imageworks/__init__.py").read_text(encoding="utf-8")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = []
    if tag != f"v{version}":
        found.append(f"the tag {tag} is not v{version}, the version in pyproject.toml")
    if f'__version__ = "{version}"' not in module:
        found.append(f"imageworks.__version__ is not {version}")
    dated = re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE)
    if dated is None:
        found.append(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`")
    found += [f"project.urls: {name} has OWNER in it" for name, url in project["urls"].items() if "/OWNER/" in url]
    return found


def main() -> int:
    """Tell what is wrong; return 1 where anything is."""
    found = problems(sys.argv[1], ROOT)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
