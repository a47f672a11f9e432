"""The tests of the gateway. They run real parts: processes, sockets, files, clients."""
