"""Fetches, verifies and builds the native libraries that naquid stands on (see vendor/README.md)."""
