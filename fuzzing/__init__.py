"""The fuzzing behind `scripts/fuzz`; docs/testing.md says what it checks and how to read a finding."""
