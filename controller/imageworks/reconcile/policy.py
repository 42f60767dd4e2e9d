"""Which licences a registry accepts, decided before any byte is fetched. Pure."""

from imageworks.reconcile.plan import Reason
from imageworks.reconcile.situation import Case, Obstacle, Upstream
from imageworks.registry.settings import LicensePolicy


def license_obstacle(case: Case, policy: LicensePolicy) -> Obstacle | None:
    """Return why a model's licence keeps it out, or ``None`` when it may come.

    What the manifest says of the licence counts before what the source says.

    Args:
        case: The model; only sources that name a licence, or manifests that do, can be judged.
        policy: The registry's rules.
    """
    if not policy.allowed and not policy.denied:
        return None
    offered = case.upstream.license if isinstance(case.upstream, Upstream) else None
    found = case.manifest.text("license") or offered
    file = case.manifest.file
    if found is None:
        if not policy.allowed:
            return None
        message = f"{file}: its licence is not known, and registry.yaml allows only {', '.join(policy.allowed)}"
        return Obstacle(Reason.LICENSE_DENIED, f"{message}; say `license:` in the manifest once it is clear")
    if found.lower() in {name.lower() for name in policy.denied}:
        return Obstacle(Reason.LICENSE_DENIED, f"{file}: registry.yaml denies the licence {found}")
    if policy.allowed and found.lower() not in {name.lower() for name in policy.allowed}:
        message = f"{file}: the licence {found} is not one that registry.yaml allows ({', '.join(policy.allowed)})"
        return Obstacle(Reason.LICENSE_DENIED, message)
    return None
