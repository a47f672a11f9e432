"""The benchmark behind `scripts/benchmark`; docs/performance.md says what it measures and how to read it."""
