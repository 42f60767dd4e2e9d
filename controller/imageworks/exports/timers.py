"""What runs the controller again and again on one machine: systemd's units, Windows' Task Scheduler. Pure."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from imageworks.exports.model import refuse_control

SERVICE: Final = "imageworks-reconcile.service"
TIMER: Final = "imageworks-reconcile.timer"
TASK: Final = "imageworks-reconcile.xml"
_NAMESPACE: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def systemd_units(words: Sequence[str], *, seconds: float, variables: Mapping[str, str]) -> dict[str, str]:
    """Return a service and its timer, by file name; for a user's own systemd or the system's."""
    refuse_control({f"word {number}": word for number, word in enumerate(words)} | dict(variables))
    lines = [f"Environment={_quoted(f'{name}={value}', words=False)}" for name, value in sorted(variables.items())]
    service = [
        "[Unit]",
        "Description=Make this machine as declared in the registry of models",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        *lines,
        "EnvironmentFile=-%E/imageworks/environment",
        f"ExecStart={' '.join(_quoted(word) for word in words)}",
        "Nice=10",
        "IOSchedulingClass=idle",
    ]
    timer = [
        "[Unit]",
        "Description=Make this machine as declared, again and again",
        "",
        "[Timer]",
        "OnActiveSec=1min",
        f"OnUnitInactiveSec={round(seconds)}s",
        f"RandomizedDelaySec={max(round(seconds / 10), 1)}s",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return {name: "\n".join(lines) + "\n" for name, lines in ((SERVICE, service), (TIMER, timer))}


def _quoted(text: str, *, words: bool = True) -> str:
    """Return a text as one word of systemd, in which it expands nothing; variables are expanded in commands alone."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if words else escaped}"'


def task_xml(words: Sequence[str], *, seconds: float) -> str:
    """Return a task for Windows' Task Scheduler, as ``schtasks /create /xml`` reads it.

    It is ASCII and names no encoding. Windows takes that, also where PowerShell saved it as UTF-16, and refuses a file
    that says it is UTF-8 (cartographer#328, vmware-auto-suspend#8).
    """
    refuse_control({f"word {number}": word for number, word in enumerate(words)})
    ET.register_namespace("", _NAMESPACE)
    task = ET.Element(_tag("Task"), {"version": "1.2"})
    about = ET.SubElement(task, _tag("RegistrationInfo"))
    ET.SubElement(about, _tag("Description")).text = "Make this machine as declared in the registry of models"
    trigger = ET.SubElement(ET.SubElement(task, _tag("Triggers")), _tag("TimeTrigger"))
    repetition = ET.SubElement(trigger, _tag("Repetition"))
    ET.SubElement(repetition, _tag("Interval")).text = f"PT{max(round(seconds / 60), 1)}M"
    ET.SubElement(trigger, _tag("StartBoundary")).text = "2026-01-01T00:00:00"
    ET.SubElement(trigger, _tag("Enabled")).text = "true"
    settings = ET.SubElement(task, _tag("Settings"))
    for name, value in (
        ("MultipleInstancesPolicy", "IgnoreNew"),
        ("StartWhenAvailable", "true"),
        ("ExecutionTimeLimit", "PT0S"),
    ):
        ET.SubElement(settings, _tag(name)).text = value
    run = ET.SubElement(ET.SubElement(task, _tag("Actions")), _tag("Exec"))
    ET.SubElement(run, _tag("Command")).text = words[0]
    ET.SubElement(run, _tag("Arguments")).text = subprocess.list2cmdline(words[1:])
    ET.indent(task)
    text = ET.tostring(task, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0"?>\n{text}\n'


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"
