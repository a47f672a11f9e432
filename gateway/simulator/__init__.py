"""The simulated upstream: an HTTP application that answers as Google's Gemini API does, without a model.

It serves a gateway that has no key yet, tests and load runs. It needs nothing of the gateway and imports
nothing of it. Everything it writes is made from the request alone, and `modelVersion` ends in `-simulated`,
so that nobody takes it for a model's answer. It asks for no credential: it is for loopback.

Failures on demand, named in the text of the last turn:

- `simulate-error:429` (also 400, 401, 403, 404, 500, 503, 504): Google's answer of that status instead.
- `simulate-error:503@2`: a stream answers 200 and has that error as an object after two chunks.
- `simulate-error:cut@2`: a stream's connection closes after two chunks, without an end.
"""

from gateway.simulator.app import create_app, create_runner

__all__ = ["create_app", "create_runner"]
