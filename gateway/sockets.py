"""What only the socket under a transport knows: asyncio tells neither."""

from __future__ import annotations

import asyncio
import fcntl
import select
import termios
from array import array


def has_hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer has closed its side, seen even while reading is paused.

    asyncio tells nothing then, for the end of the stream stands behind bytes that nobody reads; and uvloop
    tells nothing of it under TLS, as long as what is written waits for the peer.
    """
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def has_ended(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer has closed its side, and all that it sent before has been read."""
    if not has_hung_up(transport):
        return False
    unread = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, unread)
    return not unread[0]


def bytes_unread(transport: asyncio.WriteTransport) -> int:
    """How much of what was written the peer has yet to acknowledge.

    The kernel's part is counted, too: it takes more from us only in steps of up to a megabyte.
    """
    in_kernel = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
    return transport.get_write_buffer_size() + in_kernel[0]
