"""Loopback services for tests, demos and the sandbox: real servers that behave as the real ones.

See :mod:`speakerbot.testing.discord`; :mod:`speakerbot.testing.run_harness` runs jobs against it in
this process, :mod:`speakerbot.testing.crash` in processes that are killed. This package
imports nothing by itself.
"""
