"""A program of somebody else's that uses the Python API is checked by mypy as strictly as ours is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """\
import asyncio
from threading import Event

import imageworks
from imageworks.plan.plan import Plan
from imageworks.plan.report import Report


def told(event: imageworks.ProgressEvent) -> None:
    print(event.model, event.received / max(event.total, 1))


registry = imageworks.Registry.open(progress=told)
plan: Plan = registry.plan("a", offline=True)
names: list[str] = [change.name for change in plan.changes]
report: Report = registry.reconcile(plan=plan, cancel=Event())
sizes: dict[str, int] = {model.name: model.download_size_bytes for model in registry.models()}
one: str = registry.models()["a"].name + registry.models()[0].name
model = imageworks.download("acme/tiny", quantization="q4_k_m", roles=["caption"])
print(model.path / "config.json", registry.history("a")[0].record.subject, registry.validate()[0].remedy)
awaited: Report = asyncio.run(asyncio.to_thread(registry.reconcile))
reveal_type(registry.status()[0])
imageworks.download("acme/tiny", quantisation="q4")
"""


@pytest.mark.timeout(300)  # mypy reads the whole package anew
def test_u16_a_strict_consumer_is_checked(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    env = {**os.environ, "MYPYPATH": str(ROOT / "controller")}
    command += ["--follow-imports=silent", str(program)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=280)
    told = done.stdout.splitlines()
    assert "plan.status.ModelStatus" in told[0], done
    assert 'Unexpected keyword argument "quantisation"' in told[1], done
    assert [line for line in told if "error:" in line] == [told[1]], done
