"""Metrics in Prometheus' text format, for its servers and for node_exporter's textfile collector."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Args:
        name: Its name.
        about: What it is, for people.
        samples: Its values, each with its labels.
        kind: ``gauge`` or ``counter``.
    """

    name: str
    about: str
    samples: tuple[tuple[Mapping[str, str], float], ...] = field(default_factory=tuple)
    kind: str = "gauge"


def metrics_text(metrics: Iterable[Metric]) -> str:
    """Return metrics as a page; one without values is left out."""
    lines: list[str] = []
    for metric in metrics:
        if not metric.samples:
            continue
        about = metric.about.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {metric.name} {about}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
