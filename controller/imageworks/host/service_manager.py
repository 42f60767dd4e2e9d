"""Tell systemd how a service is: one datagram to the socket that it names, and nothing where it names none."""

import os
import socket
import time
from contextlib import suppress


def notify(**said: str | int) -> None:
    """Tell the service manager something, as ``notify(READY=1, STATUS="waiting")``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    message = "\n".join(f"{name}={str(value).splitlines()[0] if str(value) else ''}" for name, value in said.items())
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        manager.sendall(message.encode())


def reloading() -> None:
    """Tell the service manager that the configuration is read again; ``READY=1`` ends that."""
    notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
