"""How many rooms the project has and how they hang together: `make map`.

A room is a top-level package, or a folder or module directly in the core; deeper folders belong to
it. An arrow is an ordered pair of rooms with at least one import. Imports inside functions and
under TYPE_CHECKING count; tests do not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import grimp
from grimp import ImportGraph

PACKAGES = ("cli", "jobs", "deploy", "speakerbot")
CORE = "speakerbot"
"""The package whose children are rooms; its own `__init__` is not one."""
LIMITS = {"rooms": 30, "arrows": 150, "circles of files": 0, "modules with one importer": 30}


@dataclass(frozen=True)
class Map:
    rooms: frozenset[str]
    arrows: frozenset[tuple[str, str]]
    """(who imports, what is imported)."""
    circles: tuple[tuple[str, ...], ...]
    """Modules that import each other, directly or through others, sorted; biggest circle first."""
    single_importers: dict[str, str]
    """Each module or package that exactly one other module imports, with that other. What stands in
    the core's `testing` is not listed."""

    def figures(self) -> list[Figure]:
        """One for each of the LIMITS, in their order."""
        singles = [f"{one} ← {importer}" for one, importer in sorted(self.single_importers.items())]
        counted = (
            (len(self.rooms), list(self._lines_of_rooms())),
            (len(self.arrows), list(self._lines_of_arrows())),
            (len(self.circles), [" ".join(circle) for circle in self.circles]),
            (len(singles), singles),
        )
        return [
            Figure(name, value, limit, behind)
            for (name, limit), (value, behind) in zip(LIMITS.items(), counted, strict=True)
        ]

    def _lines_of_rooms(self) -> Iterator[str]:
        for room in sorted(self.rooms):
            used_by = sum(imported == room for _, imported in self.arrows)
            uses = sum(importer == room for importer, _ in self.arrows)
            yield f"{room:<26} {used_by:>2} in {uses:>2} out"

    def _lines_of_arrows(self) -> Iterator[str]:
        for room in sorted(self.rooms):
            if uses := sorted(imported for importer, imported in self.arrows if importer == room):
                yield f"{room} → {', '.join(uses)}"


@dataclass(frozen=True)
class Figure:
    name: str
    value: int
    limit: int
    behind: list[str]
    """What was counted, as lines to print."""

    @property
    def exceeded(self) -> bool:
        return self.value > self.limit


def read_map(packages: tuple[str, ...] = PACKAGES, core: str = CORE) -> Map:
    """Of packages that can be imported; they are read, not run."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    arrows = {
        (importer, room_of(imported, core))
        for module, all_imported in imports.items()
        for imported in all_imported
        if (importer := room_of(module, core)) != room_of(imported, core)
    }
    return Map(
        rooms=frozenset(room_of(module, core) for module in imports) - {core},
        arrows=frozenset(arrow for arrow in arrows if core not in arrow),
        circles=tuple(_circles(graph)),
        single_importers=dict(_single_importers(graph, besides=f"{core}.testing")),
    )


def room_of(module: str, core: str = CORE) -> str:
    names = module.split(".")
    return ".".join(names[:2]) if names[0] == core else names[0]


def _circles(graph: ImportGraph) -> list[tuple[str, ...]]:
    circles = set()
    for module in graph.modules:
        both_ways = graph.find_upstream_modules(module) & graph.find_downstream_modules(module)
        if both_ways - {module}:
            circles.add(tuple(sorted(both_ways | {module})))
    return sorted(circles, key=lambda circle: (-len(circle), circle))


def _single_importers(graph: ImportGraph, *, besides: str) -> Iterator[tuple[str, str]]:
    for module in graph.modules:
        importers = graph.find_modules_that_directly_import(module)
        if len(importers) == 1 and not f"{module}.".startswith(f"{besides}."):
            yield module, min(importers)


def main() -> int:
    figures = read_map().figures()
    lines = []
    for figure in figures:
        lines += [f"{figure.name}: {figure.value}", *(f"  {line}" for line in figure.behind), ""]
    for figure in figures:
        verdict = "too many" if figure.exceeded else "ok"
        lines.append(f"{figure.name:<26} {figure.value:>4}   at most {figure.limit:>3}   {verdict}")
    sys.stdout.write("\n".join(lines) + "\n")
    return any(figure.exceeded for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
