"""The log of aiohttp's own servers (the admin listener, the simulator): it quotes nothing that was sent."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError


class _WithoutInput(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.exc_info = None  # the error's text is the malformed request, a credential perhaps
        return True


http_log = logging.getLogger(__name__)
http_log.addFilter(_WithoutInput())
