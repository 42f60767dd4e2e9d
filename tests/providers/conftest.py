"""No connection outlives its test."""

from collections.abc import Iterator

import huggingface_hub
import pytest

from support.providers import close_clients


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    yield
    close_clients()
    huggingface_hub.close_session()
