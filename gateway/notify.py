"""Tell systemd how the service is doing: sd_notify(3) without a library."""

from __future__ import annotations

import logging
import os
import socket

_diagnostics = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1`, `STATUS=…` (several: one a line) to the service manager, if there is one.

    A failure is logged and nothing more: serving goes on without a manager that listens.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(1.0)  # a full queue must not hold up the event loop for longer
            channel.sendto(state.encode(), address)
    except OSError as error:
        _diagnostics.warning("the service manager could not be notified: %s", error.strerror or error)
