"""Plans, results and status as people read them, and as programs do."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, TextIO

from deploy.apply import OUTCOMES, ActionResult, ApplyEvent, ApplyReport
from deploy.diff import MISSING, FieldChange
from deploy.plan import ORDER, MachineAction, MachinePlan, PlanNote
from deploy.status import LastRun, MachineStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_SHORT = r"\1…"
_ENDS = ("done", "skipped", "failed")
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
            yield f"      {change.field}: {_shown(change)}", ""
    for image, machines in _new_images(plan).items():
        yield f"  image of {_some(machines, 'machine')}: {image}", ""
    for note in notes:
        yield f"  ! {note.name}: {note.text}", "yellow"
    yield counts(plan), "bold"


def _shown(change: FieldChange) -> str:
    """Of a command only the words that differ; digests shortened. JSON has it all."""
    if change.field == "command" and MISSING not in (change.old, change.new):
        old, new = _differing_words(change.old, change.new)
        return f"{old} → {new}"
    return _DIGEST.sub(_SHORT, f"{change.old} → {change.new}")


def _differing_words(old: str, new: str) -> tuple[str, str]:
    """With the option before them; … stands for what is the same."""
    before, after = shlex.split(old), shlex.split(new)
    shown_before: list[str] = []
    shown_after: list[str] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, start, end, after_start, after_end in matcher.get_opcodes():
        if tag == "equal":
            last = before[end - 1]
            option = [last] if last.startswith("--") and end < len(before) else []
            shown_before += ["…", *option]
            shown_after += ["…", *option]
        else:
            shown_before += map(shlex.quote, before[start:end])
            shown_after += map(shlex.quote, after[after_start:after_end])
    return " ".join(shown_before), " ".join(shown_after)


def _new_images(plan: MachinePlan) -> Mapping[str, int]:
    """Each image that machines are to get, written out once, and how many get it."""
    return Counter(
        str(action.wanted.config["image"])
        for action in plan.actions
        if action.wanted
        and (not action.machine or any(change.field == "image" for change in action.changes))
    )


def counts(plan: MachinePlan) -> str:
    left = f"{_some(plan.left, 'difference')} that this plan cannot remove"
    if plan.actions:
        parts = [f"{plan.count(kind)} to {_VERBS[kind]}" for kind in ORDER if plan.count(kind)]
        more = f" {left}." if plan.left else ""
        return f"Plan: {', '.join(parts)}, {len(plan.unchanged)} unchanged.{more}"
    if plan.left:
        return f"Nothing to do, but {left}; {len(plan.unchanged)} unchanged."
    return f"No changes: {len(plan.unchanged)} machines are as schedules.json wants them."


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def result_line(result: ActionResult, number: int, total: int) -> Line:
    """One action and what became of it."""
    style = {"done": "green", "skipped": "yellow"}.get(result.outcome, "bold red")
    outcome = "" if result.outcome == "done" else f"{result.outcome.upper()}: "
    text = _DIGEST.sub(_SHORT, result.text).replace("\n", "\n      ")
    return f"  [{number}/{total}] {result.action.name}: {outcome}{text}", style


def result_lines(results: Sequence[ActionResult]) -> Iterator[Line]:
    """The end of an apply: what was under way when it ended, and the counts."""
    for result in results:
        if result.outcome == "interrupted":
            yield f"  ! {result.action.name}: interrupted {result.text}", "yellow"
    numbers = Counter(result.outcome for result in results)
    always = ("done", "skipped", "failed")
    shown = [f"{numbers[outcome]} {outcome.replace('_', ' ')}" for outcome in OUTCOMES
             if outcome in always or numbers[outcome]]  # fmt: skip
    again = "" if numbers["done"] == len(results) else " Run apply again to finish."
    yield f"Applied: {', '.join(shown)}.{again}", "bold"


class ApplyScreen:
    """An apply as people see it: a line for each end, wait and retry, and on a terminal one line
    of what is going on just now."""

    def __init__(self, target: Console) -> None:
        self.target, self.report = target, ApplyReport(())
        self.ended = 0
        self.live: Status | None = None

    def begin(self, report: ApplyReport) -> None:
        self.report = report
        if self.target.is_terminal and report.actions:
            self.live = self.target.status("")
            self.live.start()

    def show(self, event: ApplyEvent) -> None:
        total = len(self.report.actions)
        if event.result:
            self.ended = sum(r.outcome in _ENDS for r in self.report.results)
            show([result_line(event.result, self.ended, total)], self.target)
        elif event.loud:
            text = _DIGEST.sub(_SHORT, event.text)
            show([(f"  … {event.action.name}: {text}", "dim")], self.target)
        if self.live:
            from rich.text import Text

            self.live.update(Text(self._just_now(total), no_wrap=True))

    def _just_now(self, total: int) -> str:
        """Short enough for one line, with room for the ^C that a terminal echoes."""
        doing = "; ".join(f"{name}: {text}" for name, text in self.report.under_way.items())
        line = f"{self.ended} of {total}; {doing or 'looking once more'}"
        room = self.target.width - 8
        return line if len(line) <= room else f"{line[: room - 1]}…"

    def end(self) -> None:
        if self.live:
            self.live.stop()
        if self.report.actions:
            show(result_lines(self.report.results), self.target)


class JsonStream:
    """One JSON object, written as it comes: what is known first, a list ``progress`` that grows,
    the rest. However an apply ends, the object is complete."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.begun, self.lines = out, False, 0

    def begin(self, head: Mapping[str, Any]) -> None:
        self.begun = True
        text = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
        self._write(text + ',\n  "progress": [')

    def add(self, event: ApplyEvent) -> None:
        item = {"at": iso(datetime.now(UTC)), "machine": event.action.name, "text": event.text}
        comma = "," if self.lines else ""
        self.lines += 1
        self._write(f"{comma}\n    {json.dumps(item, ensure_ascii=False)}")

    def end(self, tail: Mapping[str, Any]) -> None:
        rest = json.dumps(tail, indent=2, ensure_ascii=False).removeprefix("{")
        self._write(("\n  ]," if self.lines else "],") + rest + "\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def plan_document(plan: MachinePlan, notes: Sequence[PlanNote], app: str | None) -> dict[str, Any]:
    return {
        "app": app,
        "actions": [_action_document(action) for action in plan.actions],
        "notes": [{"machine": note.name, "text": note.text, "left": note.left} for note in notes],
        "counts": {
            **{kind: plan.count(kind) for kind in ORDER},
            "unchanged": len(plan.unchanged),
            "left": plan.left,
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


_COLUMNS = (
    "machine", "region", "state", "last run UTC", "took", "exit", "next tick", "occurrence"
)  # fmt: skip
_LESS_NEEDED = ("took", "region", "occurrence", "next tick", "last run UTC")
"""Columns that a narrow terminal goes without, the first of them first."""


def status_table(rows: Sequence[MachineStatus], target: Console) -> None:
    """A line for each machine, never broken: columns are left out where the terminal is narrow."""
    cells = [dict(zip(_COLUMNS, _cells(status), strict=True)) for status in rows]
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in _COLUMNS}
    columns, dropped = list(_COLUMNS), []
    for name in _LESS_NEEDED:
        if sum(widths[column] + 2 for column in columns) - 2 <= target.width:
            break
        columns.remove(name)
        dropped.append(name)
    show([("  ".join(f"{name:{widths[name]}}" for name in columns).rstrip(), "bold")], target)
    for status, row in zip(rows, cells, strict=True):
        line = "  ".join(f"{row[name]:{widths[name]}}" for name in columns).rstrip()
        show([(line, "bold red" if status.problems else "")], target)
    if dropped:
        show([(f"(no room for: {', '.join(dropped)})", "dim")], target)


def _cells(status: MachineStatus) -> tuple[str, ...]:
    last = status.last
    return (
        status.machine, status.region, status.state,
        _when(last.started_at if last else None), _took(last), _exit(last),
        "overdue" if status.overdue else _when(status.next_tick), _when(status.next_occurrence),
    )  # fmt: skip


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
