"""What a run would change here, compared with what another commit would lead to here: for the comment on a request."""

from collections.abc import Collection

from imageworks.plan.compare import HostPlan, as_declared, compare
from imageworks.plan.facts import HostState
from imageworks.plan.plan import Plan
from imageworks.reconcile.phases.planning import Planning
from imageworks.registry.settings.changes import review_rules


def compare_with_base(planning: Planning, base: str, *, labels: Collection[str] = ()) -> HostPlan:
    """Return what would change, with what sets it apart from what another commit would lead to here."""
    revision, now = planning.repository.resolve(base), planning.registry
    # There is no room for what is known of ten thousand models on either side, and the plan of now is made again.
    planning.forget()
    rules = review_rules(planning.repository, revision, now.revision, labels)
    planning.let_go()
    before, earlier = Plan(now.host, revision), HostState(now.host, revision)
    with planning.declared_at(revision) as known:
        if known:
            before, earlier = planning.plan(), as_declared(planning.situation, now.manifests)
    return compare(planning.plan(), planning.situation, base=revision, before=before, earlier=earlier, rules=rules)
