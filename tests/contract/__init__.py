"""The contract as a client meets it: bytes to a gateway's socket, and what comes back compared whole."""
