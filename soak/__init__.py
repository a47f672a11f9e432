"""The soak behind `scripts/soak`; docs/testing.md says what it does and how to read it."""
