"""The standing of all hosts as metrics."""

from collections.abc import Iterator

from imageworks.fleet.prometheus_text import Metric
from imageworks.fleet.status import FleetStatus, count_standings


def fleet_metrics(status: FleetStatus) -> Iterator[Metric]:
    """Yield the metrics of a registry's hosts."""
    hosts = status.hosts
    prefix = "imageworks_fleet_"
    yield Metric(f"{prefix}as_declared", "1 while every host is as declared.", (({}, float(status.as_declared)),))
    yield Metric(
        f"{prefix}host_as_declared",
        "1 while all models of the host are as declared.",
        tuple(({"host": host.name}, float(host.as_declared)) for host in hosts),
    )
    yield Metric(
        f"{prefix}host_silent",
        "1 while the host reports and has not for too long.",
        tuple(({"host": host.name}, float(host.silent)) for host in hosts),
    )
    yield Metric(
        f"{prefix}host_behind_commits",
        "Commits that change what is declared and that the host has not applied.",
        tuple(({"host": host.name}, float(host.behind)) for host in hosts if host.behind is not None),
    )
    yield Metric(
        f"{prefix}host_last_seen_timestamp_seconds",
        "When the host was last heard of.",
        tuple(({"host": host.name}, host.last.timestamp()) for host in hosts if host.last is not None),
    )
    yield Metric(
        f"{prefix}host_last_run_ok",
        "1 when the host's last reported run left nothing undone.",
        tuple(({"host": host.name}, float(host.report.succeeded)) for host in hosts if host.report is not None),
    )
    yield Metric(
        f"{prefix}host_bytes",
        "Bytes of all models of the host.",
        tuple(({"host": host.name}, float(host.size)) for host in hosts),
    )
    yield Metric(
        f"{prefix}host_models",
        "Models of the host by how they stand.",
        tuple(
            ({"host": host.name, "standing": standing.value}, float(count))
            for host in hosts
            for standing, count in count_standings(host.models).items()
        ),
    )
    yield Metric(
        f"{prefix}model_copies",
        "Hosts that have files of the model.",
        tuple(({"model": name}, float(len(places))) for name, places in status.copies.items()),
    )
