"""A licence that the registry does not accept keeps a model out, before any byte."""

from pathlib import Path

import pytest

from imageworks.reconcile.plan import Action, Reason
from imageworks.reconcile.planner import make_plan
from imageworks.reconcile.situation import Case, Place, PruneOptions, Situation, Upstream
from imageworks.registry.manifest import read_manifest
from imageworks.registry.settings import LicensePolicy, read_settings
from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.files import RemoteFile

FILE = RemoteFile("model.safetensors", 7, Digest(Algorithm.SHA256, "a" * 64), large=True)


def planned(policy: LicensePolicy, *, declared: str | None, offered: str | None) -> tuple[Action, Reason, str]:
    fields: dict[str, object] = {"source": {"huggingface": "owner/repo"}}
    if declared is not None:
        fields["license"] = declared
    case = Case(
        read_manifest("models/it.yaml", fields),
        place=Place(Path("/w"), Path("/w/owner/repo"), "linux_wsl", "1"),
        upstream=Upstream(files=(FILE,), commit="c" * 40, license=offered),
    )
    plan = make_plan(Situation("host", None, cases=(case,), licenses=policy), PruneOptions())
    (change,) = plan.changes
    return change.action, change.reason, change.message


@pytest.mark.parametrize(
    ("allowed", "denied", "declared", "offered", "comes"),
    [
        ((), (), None, None, True),
        (("apache-2.0",), (), None, "apache-2.0", True),
        (("Apache-2.0",), (), None, "apache-2.0", True),
        (("apache-2.0",), (), None, "mit", False),
        (("apache-2.0",), (), None, None, False),
        (("apache-2.0",), (), "apache-2.0", None, True),
        (("apache-2.0",), (), "cc-by-nc-4.0", "apache-2.0", False),
        ((), ("cc-by-nc-4.0",), None, "CC-BY-NC-4.0", False),
        ((), ("cc-by-nc-4.0",), None, "mit", True),
        ((), ("cc-by-nc-4.0",), None, None, True),
    ],
)
def test_the_policy_decides(
    allowed: tuple[str, ...], denied: tuple[str, ...], declared: str | None, offered: str | None, comes: bool
) -> None:
    action, reason, message = planned(LicensePolicy(allowed, denied), declared=declared, offered=offered)
    if comes:
        assert action is Action.INSTALL
    else:
        assert (action, reason) == (Action.BLOCKED, Reason.LICENSE_DENIED)
        assert message.startswith("models/it.yaml: ")


def test_policies_are_read_and_those_not_enforced_are_named() -> None:
    document = {"policies": {"allowed_licenses": ["mit"], "require_pins": True, "max_model_bytes": 5}}
    settings = read_settings(document, "host")
    assert settings.licenses == LicensePolicy(allowed=("mit",))
    assert settings.unenforced == ("max_model_bytes", "require_pins")
