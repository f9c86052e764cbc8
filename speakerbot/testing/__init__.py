"""Loopback services for tests, demos and the sandbox: real servers that behave as the real ones.

See :mod:`speakerbot.testing.discord`. This package imports nothing by itself.
"""
