"""What a request may use: its limits, how windows slide, what it reserves, what it is told. Pure."""
