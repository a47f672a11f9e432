"""A self-hosted gateway for Google's Gemini API."""

__version__ = "0.1.0"
