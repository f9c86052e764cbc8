"""The core: everything a job stands on. Jobs decide, the engine sends, the runner wraps."""

__version__ = "0.1.0"
