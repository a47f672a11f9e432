"""Drivers of Python clients, run as `python -m tests.clients.drivers.NAME` in an environment of their own.

They import nothing of the gateway and nothing of pytest, which are not there.
"""
