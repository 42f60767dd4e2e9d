"""registry.yaml as a value: locations, routing, transfer limits, prune and commit policy, hosts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import time
from typing import Final

from imageworks.foundation.json_values import mapping
from imageworks.registry.settings.policies import NO_POLICIES, Policies, read_policies, unknown_policies

FILE: Final = "registry.yaml"
LMSTUDIO: Final = "lmstudio"
"""The kind of a location that LM Studio scans; its layout is always that of LM Studio."""

PUBLISHER: Final = "publisher/repo"
_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True, slots=True)
class Location:
    """A named place for models.

    Args:
        name: What manifests call it.
        path: Its root on this host, as written (``~`` allowed).
        layout: How a model's folder is derived: ``owner/repo``, ``publisher/repo`` or ``flat``.
        kind: ``weights`` or ``lmstudio``.
    """

    name: str
    path: str
    layout: str = "owner/repo"
    kind: str = "weights"


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How downloads may use the network.

    Args:
        connections: Connections for each file.
        jobs: Files at once.
        limit: Bytes per second over all, or ``None``.
        window: Hours of the day in which downloads may run, as ``22:00-06:00``, or ``None``.
    """

    connections: int = 8
    jobs: int = 4
    limit: int | None = None
    window: str | None = None

    def on_host(self, connections: int | None, jobs: int | None) -> "TransferSettings":
        """Return the settings as they hold on a host that may say otherwise."""
        return replace(self, connections=connections or self.connections, jobs=jobs or self.jobs)

    def open_at(self, now: time) -> bool:
        """Return whether downloads may run at a time of day; a window may reach over midnight."""
        if self.window is None:
            return True
        first, last = (time.fromisoformat(part.strip()) for part in self.window.split("-"))
        return first <= now < last if first <= last else now >= first or now < last


@dataclass(frozen=True, slots=True)
class CommitSettings:
    """How the controller's commits look.

    Args:
        sign: Whether the key signs them that git's settings name for whoever runs the controller.
        trailers: What each message ends with besides the controller's own trailers.
        message_suffix: What each subject ends with; empty for nothing.
    """

    sign: bool = False
    trailers: Mapping[str, str] = field(default_factory=dict)
    message_suffix: str = ""

    def message(self, text: str) -> str:
        """Return a message whose subject ends as it should."""
        subject, line_end, rest = text.partition("\n")
        return f"{subject} {self.message_suffix}{line_end}{rest}" if self.message_suffix else text


@dataclass(frozen=True, slots=True)
class RenewedExport:
    """A server's file that each run keeps as the host's models are.

    Args:
        kind: Whose file it is: ``llama-swap`` or ``llama-server``.
        path: Where it stands; this host's own settings must allow the folder.
        reload: The address of this machine that lets the server read it again; empty where it watches the file.
    """

    kind: str
    path: str
    reload: str = ""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The settings of one registry as they hold on one host.

    Args:
        locations: Locations by name, with the host's overrides applied.
        routing: Location names by container format, with ``default``.
        transfer: How downloads may use the network.
        prune: Whether models without a manifest may be removed without ``--prune``.
        labels: The host's labels, for selectors.
        hosts: Every host that the registry knows.
        push: Whether each commit is pushed.
        report: Whether each run of ``reconcile`` is reported on the host's own ref.
        branch: The branch that entries go to, or ``None`` for the checked-out one.
        commits: How the controller's commits look.
        require_signed: Whether only what a signed commit declares is reconciled.
        registry_id: Which registry this is, wherever it is cloned; empty where it does not say.
        policies: Which models are accepted.
        compat: Whether the predecessor's files are written too.
        exports: The files of servers that each run renews.
        mirrors: Where bytes come from before the hub, as addresses or names of hosts.
        hubs: The addresses at which hosts serve what they have, by their names.
        unenforced: What is written down and not enforced by this version, such as keys that a registry allows itself.
    """

    locations: Mapping[str, Location] = field(default_factory=dict)
    routing: Mapping[str, str] = field(default_factory=dict)
    transfer: TransferSettings = TransferSettings()
    prune: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    push: bool = False
    report: bool = False
    branch: str | None = None
    commits: CommitSettings = CommitSettings()
    require_signed: bool = False
    registry_id: str = ""
    policies: Policies = NO_POLICIES
    compat: bool = False
    exports: tuple[RenewedExport, ...] = ()
    mirrors: tuple[str, ...] = ()
    hubs: Mapping[str, str] = field(default_factory=dict)
    unenforced: tuple[str, ...] = ()

    def route(self, container: str | None) -> str | None:
        """Return the location's name for a container format, if the registry routes it anywhere."""
        return self.routing.get(container or "default") or self.routing.get("default")


def read_settings(document: Mapping[str, object], host: str) -> RegistrySettings:
    """Return the settings that a schema-valid registry.yaml gives one host."""
    hosts = mapping(document.get("hosts"))
    own = mapping(hosts.get(host))
    commit = mapping(document.get("commit"))
    branch = commit.get("branch")
    git = mapping(document.get("git"))
    policies = mapping(document.get("policies"))
    return RegistrySettings(
        locations=_locations(mapping(document.get("locations")), mapping(own.get("locations"))),
        routing={str(k): str(v) for k, v in mapping(document.get("routing")).items()},
        transfer=_transfer(mapping(document.get("transfer"))),
        prune=document.get("prune") is True,
        labels={str(k): str(v) for k, v in mapping(own.get("labels")).items()},
        hosts=tuple(str(name) for name in hosts),
        push=commit.get("push") is True,
        report=commit.get("report") is True,
        branch=str(branch) if branch else None,
        commits=CommitSettings(
            sign=commit.get("sign") is True,
            trailers={str(k): str(v) for k, v in mapping(commit.get("trailers")).items()},
            message_suffix=str(commit.get("message_suffix") or ""),
        ),
        require_signed=git.get("require_signed") is True,
        registry_id=str(document.get("id") or ""),
        policies=read_policies(policies),
        compat=document.get("compat") is True,
        exports=tuple(
            RenewedExport(str(kind), str(fields.get("path", "")), str(fields.get("reload") or ""))
            for kind, one in mapping(document.get("exports")).items()
            for fields in (mapping(one),)
        ),
        mirrors=_texts(own.get("mirror", document.get("mirror"))),
        hubs={str(k): str(mapping(v)["hub"]).rstrip("/") for k, v in hosts.items() if mapping(v).get("hub")},
        unenforced=(
            *(f"policies.{name}" for name in unknown_policies(policies)),
            *(f"git.{name}" for name in ("allowed_keys",) if git.get(name)),
        ),
    )


def _texts(value: object) -> tuple[str, ...]:
    """Return one text or several."""
    return (value,) if isinstance(value, str) else tuple(map(str, value)) if isinstance(value, list) else ()


def _locations(declared: Mapping[str, object], own: Mapping[str, object]) -> dict[str, Location]:
    locations = {}
    for name in {**declared, **own}:
        fields = {**mapping(declared.get(name)), **mapping(own.get(name))}
        if isinstance(own.get(name), str):
            fields["path"] = own[name]
        kind = str(fields.get("kind", "weights"))
        locations[name] = Location(
            name=name,
            path=str(fields.get("path", "")),
            layout=PUBLISHER if kind == LMSTUDIO else str(fields.get("layout", "owner/repo")),
            kind=kind,
        )
    return locations


def _transfer(fields: Mapping[str, object]) -> TransferSettings:
    defaults = TransferSettings()
    connections, jobs = fields.get("connections"), fields.get("jobs")
    window = fields.get("window")
    return TransferSettings(
        connections=connections if isinstance(connections, int) else defaults.connections,
        jobs=jobs if isinstance(jobs, int) else defaults.jobs,
        limit=parse_rate(fields.get("limit")),
        window=str(window) if window else None,
    )


def parse_rate(value: object) -> int | None:
    """Return bytes per second from a number or a text such as ``20M``; ``None`` and 0 mean no limit."""
    if isinstance(value, int):
        return value or None
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?(?:/s)?", value.strip().lower())
        if match:
            return int(match[1]) * _UNITS[match[2]] or None
    return None
