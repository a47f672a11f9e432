"""What a request will probably use: reserved when it is admitted, until it is known what it did use."""

from __future__ import annotations

from collections import OrderedDict

from gateway.quota.admission import Estimate

MODELS = 256
"""How many models are remembered: where `catalog.allow` is set, clients choose the names."""
UNANNOUNCED = 1_000
"""Input tokens of a request that does not say how long its body is."""
MOST_TOKENS = 32_000
"""The largest estimate: less than the least that any Gemini model takes, so that none is reserved whole."""
_KEPT = 0.9
"""How much of the past counts when something new is learnt: about ten requests' worth."""


class _Lately:
    """What a model's requests used lately: sums, in which everything weighs less the longer ago it was."""

    __slots__ = ("beyond", "by_length", "bytes", "cost_nanos", "priced_tokens", "requests")

    def __init__(self) -> None:
        self.bytes = 4_000.0
        self.by_length = 1_000.0
        """Input tokens that the body's length explains. First a guess: four bytes a token, as in English."""
        self.requests = 1.0
        self.beyond = 500.0
        """All other tokens: the output, and what a short body can stand for (a file by its address)."""
        self.cost_nanos = 0.0
        self.priced_tokens = 0.0


class Estimator:
    """Learns, by model, from what was reported. It never sees a body: its announced length has to do.

    Averages are of sums, so that the estimates of many requests together come to what they use together.
    """

    def __init__(self) -> None:
        self._lately: OrderedDict[str, _Lately] = OrderedDict()
        self._unknown = _Lately()

    def estimate(self, model: str, announced: int | None) -> Estimate:
        """What to reserve for a request with a body of so many bytes; None: it does not say."""
        lately = self._lately.get(model, self._unknown)
        given = UNANNOUNCED if announced is None else announced * lately.by_length / lately.bytes
        tokens = min(int(given + lately.beyond / lately.requests) + 1, MOST_TOKENS)
        priced = lately.priced_tokens
        return Estimate(tokens, int(tokens * lately.cost_nanos / priced) if priced else 0)

    def learn(
        self, model: str, request_bytes: int, input_tokens: int, output_tokens: int, cost_nanos: int | None
    ) -> None:
        """Take in what a whole response reported; `cost_nanos` None: no price is known."""
        lately = self._lately.get(model)
        if lately is None:
            lately = self._lately[model] = _Lately()
            if len(self._lately) > MODELS:
                self._lately.popitem(last=False)
        tokens = input_tokens + output_tokens
        by_length = min(input_tokens, request_bytes)  # no text has more tokens than bytes
        lately.bytes = lately.bytes * _KEPT + request_bytes
        lately.by_length = lately.by_length * _KEPT + by_length
        lately.requests = lately.requests * _KEPT + 1
        lately.beyond = lately.beyond * _KEPT + tokens - by_length
        if cost_nanos is not None:
            lately.cost_nanos = lately.cost_nanos * _KEPT + cost_nanos
            lately.priced_tokens = lately.priced_tokens * _KEPT + tokens
