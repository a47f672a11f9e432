"""Reads what a response used from a copy of its bytes, without I/O: `feed(bytes)`, `end()`, then `.usage`.

`reader` undoes the compression (`inflate`), finds the JSON documents (`events`, `document`), reads them whole
(`response`) or piece by piece (`scanner`), and collects what they said (`findings`).
"""

from gateway.metering.reader import UsageReader

__all__ = ["UsageReader"]
