"""What an exit code says of several verdicts."""

import pytest

from imageworks.errors import ExitCode
from imageworks.reconcile.verify import Verdict, Verified, exit_code


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), ExitCode.SUCCESS),
        ((Verdict.INTACT,), ExitCode.SUCCESS),
        ((Verdict.INTACT, Verdict.UNVERIFIED), ExitCode.UNVERIFIED),
        ((Verdict.UNVERIFIED, Verdict.DAMAGED), ExitCode.FAILURE),
        ((Verdict.MISSING, Verdict.INTACT), ExitCode.FAILURE),
    ],
)
def test_damage_outweighs_doubt_and_doubt_outweighs_the_rest(verdicts: tuple[Verdict, ...], code: ExitCode) -> None:
    assert exit_code(Verified(str(number), verdict) for number, verdict in enumerate(verdicts)) == code
