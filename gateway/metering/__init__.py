"""Reads what a response used from a copy of its bytes, without I/O: `feed(bytes)`, `end()`, then `.usage`.

`reader` undoes the compression (`inflate`) and gathers small pieces. The JSON documents in them are found in
the form that they mostly have (`events`, `array`, `document`) and decoded at once (`response`); what has
another form is read exactly, line by line (`lines`) and token by token (`scanner`, `lexer`; `places` and
`spelled` say what they look for). `findings` collects, and `report` reads the last report of the usage.
"""

from gateway.metering.reader import UsageReader

__all__ = ["UsageReader"]
