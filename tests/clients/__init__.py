"""Real clients, unmodified, against a running gateway: what they make of its answers and refusals.

Clients that can't share an environment run as drivers (`drivers/`, `js/`): programs that play a number of
cases with their client and print what came of each; the tests here judge that.
"""
