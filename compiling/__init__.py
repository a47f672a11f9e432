"""Compiles the gateway; not needed to run it."""
