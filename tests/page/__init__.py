"""Tests of the page `/usage`."""
