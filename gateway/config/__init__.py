"""The configuration: `load` gives a `Config` that is checked whole, or raises one clear line.

`schema` has the keys, `values` the forms of single values, `sources` the places they come from, `load` the
checks between them. Nothing here keeps state or logs.
"""

from gateway.config.load import Config, load
from gateway.config.schema import (
    Admin,
    Branches,
    Counters,
    Ledger,
    Limits,
    Server,
    Store,
    Timeouts,
    Upstream,
    UpstreamKind,
)
from gateway.config.sources import default_config
from gateway.config.values import BaseUrl, HeaderName, HostName, HostSuffix, Listen, Network, StoreUrl

__all__ = [
    "Admin",
    "BaseUrl",
    "Branches",
    "Config",
    "Counters",
    "HeaderName",
    "HostName",
    "HostSuffix",
    "Ledger",
    "Limits",
    "Listen",
    "Network",
    "Server",
    "Store",
    "StoreUrl",
    "Timeouts",
    "Upstream",
    "UpstreamKind",
    "default_config",
    "load",
]
