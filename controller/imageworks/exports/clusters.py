"""What brings models to the machines of a Ray cluster as they start, and to those of an inventory of Ansible. Pure."""

import shlex
from collections.abc import Sequence
from typing import Final

from imageworks.exports.model import refuse_control
from imageworks.exports.yaml_text import Unsafe

RESULT: Final = "imageworks_reconcile"
_TEMPLATES: Final = ("{{", "{%", "{#")


def ray_commands(remote: str, registry: str, words: Sequence[str]) -> dict[str, object]:
    """Return the part of a Ray cluster's YAML that brings models before a node's Ray starts."""
    refuse_control({"--remote": remote, "--registry": registry})
    place, arriving = shlex.quote(registry), shlex.quote(f"{registry}.arriving")
    bring = f"rm -rf {arriving} && git clone -- {shlex.quote(remote)} {arriving} && mv {arriving} {place}"
    clone = f"test -d {place}/.git || ({bring})"
    return {"setup_commands": ["pip install imageworks-models", clone, shlex.join(words)]}


def ansible_play(words: Sequence[str], *, hosts: str) -> list[object]:
    """Return a play that runs the controller on each host and tells what it changed."""
    refuse_control({"--hosts": hosts})
    return [
        {
            "name": "Make each machine as declared in the registry of models",
            "hosts": _literal(hosts),
            "gather_facts": False,
            "tasks": [
                {
                    "name": "Reconcile",
                    "ansible.builtin.command": {"argv": [_literal(word) for word in words]},
                    "register": RESULT,
                    "changed_when": f"{RESULT}.rc == 2",
                    "failed_when": f"{RESULT}.rc not in [0, 2]",
                }
            ],
        }
    ]


def _literal(text: str) -> str:
    return Unsafe(text) if any(sign in text for sign in _TEMPLATES) else text
