"""Licences as people write them: spellings that mean the same, and texts that name several (X8)."""

import pytest

from imageworks.registry.settings.licenses import contradicts, license_key
from imageworks.registry.settings.policies import Policies, license_violations


@pytest.mark.parametrize(
    "same",
    [
        ("cc-by-nc-4.0", "CC BY-NC 4.0", "CC_BY_NC-4.0", "cc-by-nc-4"),
        ("gpl-3.0", "GPL-3.0-or-later", "GPL-3.0-only", "GPL-3.0+", "GPL 3.0 or later", "gplv3"),
        (
            "apache-2.0",
            "Apache License 2.0",
            "Apache License, Version 2.0",
            "The Apache License, Version 2.0",
            "apache2",
        ),
        ("mit", "MIT License", "The MIT License"),
        ("llama3.1", "Llama-3.1", "llama 3.1"),
    ],
)
def test_x8_spellings_of_one_licence_are_one(same: tuple[str, ...]) -> None:
    assert len({license_key(one) for one in same}) == 1
    for spelling in same:
        assert not contradicts(same[0], spelling)
        assert list(license_violations(spelling, Policies(denied_licenses=(same[0],)))), spelling
        assert list(license_violations(same[0], Policies(denied_licenses=(spelling,)))), spelling
        assert not list(license_violations(spelling, Policies(allowed_licenses=(same[0],)))), spelling


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mit", "mit-0"),
        ("gpl-3.0", "lgpl-3.0"),
        ("gpl-2.0", "gpl-3.0"),
        ("openrail", "openrail++"),
        ("cc-by-4.0", "cc0-1.0"),
        ("bsd-2-clause", "bsd-3-clause"),
        ("llama3", "llama3.1"),
        ("cc-by-nc-4.0", "cc-by-4.0"),
        ("mpl-1.1", "mpl-1.10"),
    ],
)
def test_x8_other_licences_are_others(one: str, other: str) -> None:
    assert contradicts(one, other)
    assert list(license_violations(one, Policies(allowed_licenses=(other,))))


@pytest.mark.parametrize(
    "text",
    [
        *("MIT AND CC-BY-NC-4.0", "CC-BY-NC-4.0 AND MIT", "mit, cc-by-nc-4.0", "MIT/CC-BY-NC-4.0", "MIT; cc by-nc 4.0"),
        *("(MIT OR Apache-2.0) AND (CC-BY-NC-4.0)", "CC-BY-NC-4.0 WITH Some-exception", "mit and CC_BY_NC 4.0"),
    ],
)
def test_x8_what_is_denied_is_found_within_expressions(text: str) -> None:
    assert list(license_violations(text, Policies(denied_licenses=("cc-by-nc-4.0",))))
    assert list(license_violations(text, Policies(allowed_licenses=("mit", "apache-2.0"))))
