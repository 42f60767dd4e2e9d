"""What an exit code says of several verdicts."""

import pytest

from imageworks.foundation.errors import ExitCode
from imageworks.operations.verify.verify import exit_code
from imageworks.plan.verification import Verdict, Verified


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
