"""What a bench prints: a figure, and what to read it beside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    figure: str
    beside: str
