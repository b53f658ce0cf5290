"""LLM-enhanced, long-tail sequential recommendation. Start reading at ``docs/architecture.md``."""

__version__ = "0.1.0"
