"""A self-hosted gateway for Google's Gemini API."""

from gateway.compiled import COMPILED as COMPILED  # before any module that could be compiled

__version__ = "0.1.0"
