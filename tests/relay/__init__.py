"""The relay, over raw sockets: what its upstream and its client see of it, whatever they do."""
