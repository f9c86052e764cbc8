"""Plans, results and status as people read them, and as programs do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from deploy.apply import ActionResult
from deploy.plan import ORDER, MachineAction, MachinePlan, PlanNote
from deploy.status import LastRun, MachineStatus

if TYPE_CHECKING:
    from rich.console import Console

_SIGNS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "replace": ("±", "bold red"),
    "delete": ("-", "bold red"),
}
_VERBS = {"create": "create", "update": "update", "replace": "replace", "delete": "destroy"}
Line = tuple[str, str]
"""Text and its style."""


def console(*, stderr: bool = False) -> Console:
    """Plain on a pipe and with NO_COLOR, never wrapped there."""
    from rich.console import Console

    shown = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not shown.is_terminal:
        shown.width = 10_000
    return shown


def show(lines: Iterable[Line], target: Console) -> None:
    for text, style in lines:
        target.print(text, style=style or None, markup=False)


def plan_lines(plan: MachinePlan, notes: Sequence[PlanNote]) -> Iterator[Line]:
    """One line a machine, one a field, deletes last, then notes and the counts."""
    for action in plan.actions:
        sign, style = _SIGNS[action.kind]
        loud = " (DESTROYED)" if action.kind in ("delete", "replace") else ""
        reason = f": {action.reason}" if action.reason else ""
        yield f"  {sign} {_VERBS[action.kind]} {action.name}{loud}{reason}", style
        for change in action.changes:
            yield f"      {change}", ""
    for note in notes:
        yield f"  ! {note.name}: {note.text}", "yellow"
    yield counts(plan), "bold"


def counts(plan: MachinePlan) -> str:
    if not plan.actions:
        return f"No changes: {len(plan.unchanged)} machines are as schedules.json wants them."
    parts = [f"{plan.count(kind)} to {_VERBS[kind]}" for kind in ORDER if plan.count(kind)]
    return f"Plan: {', '.join(parts)}, {len(plan.unchanged)} unchanged."


def result_line(result: ActionResult, number: int, total: int) -> Line:
    """Progress: one action and what became of it."""
    style = {"done": "green", "skipped": "yellow", "failed": "bold red"}[result.outcome]
    outcome = "" if result.outcome == "done" else f"{result.outcome.upper()}: "
    return f"  [{number}/{total}] {result.action.name}: {outcome}{result.text}", style


def result_counts(results: Sequence[ActionResult]) -> str:
    by_outcome = {o: sum(r.outcome == o for r in results) for o in ("done", "skipped", "failed")}
    text = ", ".join(f"{number} {outcome}" for outcome, number in by_outcome.items())
    again = "" if by_outcome["done"] == len(results) else " Run apply again to finish."
    return f"Applied: {text}.{again}"


def plan_document(plan: MachinePlan, notes: Sequence[PlanNote], app: str) -> dict[str, Any]:
    return {
        "app": app,
        "actions": [_action_document(action) for action in plan.actions],
        "notes": [{"machine": note.name, "text": note.text} for note in notes],
        "counts": {
            **{kind: plan.count(kind) for kind in ORDER},
            "unchanged": len(plan.unchanged),
        },
    }


def _action_document(action: MachineAction) -> dict[str, Any]:
    wanted, machine = action.wanted, action.machine
    return {
        "action": action.kind,
        "machine": action.name,
        "id": machine.id if machine else None,
        "schedule": wanted.schedule.name if wanted else machine.schedule if machine else None,
        "region": wanted.region if wanted else machine.region if machine else None,
        "reason": action.reason,
        "changes": [asdict(change) for change in action.changes],
    }


def result_documents(results: Sequence[ActionResult]) -> list[dict[str, str]]:
    return [
        {"action": r.action.kind, "machine": r.action.name, "outcome": r.outcome, "text": r.text}
        for r in results
    ]


def status_document(
    rows: Sequence[MachineStatus], notes: Sequence[PlanNote], app: str
) -> dict[str, Any]:
    def row(status: MachineStatus) -> dict[str, Any]:
        last = status.last
        return {
            "schedule": status.schedule, "machine": status.machine, "region": status.region,
            "state": status.state, "last_run": last and {
                "started_at": iso(last.started_at), "ended_at": iso(last.ended_at),
                "exit_code": last.exit_code, "oom_killed": last.oom_killed,
                "interrupted": last.interrupted,
            },
            "next_tick": iso(status.next_tick), "next_occurrence": iso(status.next_occurrence),
            "overdue": status.overdue, "drift": list(status.drift),
            "problems": list(status.problems),
        }  # fmt: skip

    return {
        "app": app,
        "machines": [row(status) for status in rows],
        "notes": [{"machine": note.name, "text": note.text} for note in notes],
    }


def status_lines(rows: Sequence[MachineStatus], notes: Sequence[PlanNote]) -> Iterator[Line]:
    """What needs a person, after the table."""
    for status in rows:
        for problem in status.problems:
            yield f"  ! {status.machine}: {problem}", "bold red"
    for note in notes:
        yield f"  ! {note.name}: {note.text}", "yellow"
    if not notes and not any(status.problems for status in rows):
        yield "Nothing needs a person.", "green"


def status_table(rows: Sequence[MachineStatus], target: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("machine", "region", "state", "last run UTC", "took", "exit", "next tick",
                    "occurrence"):  # fmt: skip
        table.add_column(heading, no_wrap=not target.is_terminal, overflow="fold")
    for status in rows:
        last = status.last
        table.add_row(
            status.machine, status.region, status.state,
            _when(last.started_at if last else None), _took(last), _exit(last),
            "overdue" if status.overdue else _when(status.next_tick),
            _when(status.next_occurrence),
            style="bold red" if status.problems else None,
        )  # fmt: skip
    target.print(table)


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _when(moment: datetime | None) -> str:
    return f"{moment:%m-%d %H:%M}" if moment else "-"


def _took(last: LastRun | None) -> str:
    length = last.duration if last else None
    return "-" if length is None else str(timedelta(seconds=round(length.total_seconds())))


def _exit(last: LastRun | None) -> str:
    if last is None:
        return "-"
    if last.ended_at is None:
        return "running"
    if last.oom_killed:
        return "out of memory"
    code = "?" if last.exit_code is None else str(last.exit_code)
    return f"{code}, interrupted" if last.interrupted else code
