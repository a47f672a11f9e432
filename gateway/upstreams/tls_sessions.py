"""TLS sessions of one origin: a new connection resumes what an earlier one agreed on, for half the work.

`create_connection` takes no session. But every event loop makes its TLS object by `SSLContext.wrap_bio`; its
class can be chosen (`sslobject_class`), and such an object takes a session until its handshake begins.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

LIFE = 3600.0
"""Seconds after which a session is given up. Who resumes one is shown no certificate, so this is also how
long a certificate is trusted without being seen again."""
SETTLING = 0.5
"""Seconds from a handshake until its session is read: TLS 1.3 sends it a round trip later, and reading one
takes half a millisecond, too long to look again and again while a thousand connections are opened."""


class TlsSessions:
    """Lets connections made with `context` resume the session of one that has seen the certificate.

    The context is this object's alone from now on. `clock` is in seconds and never goes back.
    """

    def __init__(self, context: ssl.SSLContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unread: ssl.SSLObject | None = None
        """A connection that has seen the certificate, and whose session is to be read."""
        self._seen = 0.0
        """When it saw it."""
        self._session: ssl.SSLSession | None = None
        self._host: str | None = None
        """Whose session it is."""
        self._expires = 0.0

        sessions = self

        class Resuming(ssl.SSLObject):
            _begun = False

            def do_handshake(self) -> None:
                if not self._begun:
                    self._begun = True
                    if session := sessions._offer(self.server_hostname):
                        self.session = session
                super().do_handshake()  # raises until the handshake is over
                sessions._over(self)

        context.sslobject_class = Resuming

    def forget(self) -> None:
        """A connection failed, perhaps for the session that it offered: the next one offers none."""
        self._unread = self._session = None

    def _over(self, connection: ssl.SSLObject) -> None:
        # A session of a resumed connection would put off the certificate's next check, for ever in the end.
        if self._unread is None and not connection.session_reused:
            self._unread, self._seen = connection, self._clock()

    def _offer(self, host: str | None) -> ssl.SSLSession | None:
        now = self._clock()
        if self._unread and now >= self._seen + SETTLING:
            session = self._unread.session
            if session and session.id:  # without one it can't be resumed
                self._session, self._host = session, self._unread.server_hostname
                self._expires = self._seen + LIFE
            self._unread = None
        return self._session if host == self._host and now < self._expires else None
