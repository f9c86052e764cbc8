"""Does any test notice? `make mutants` puts one small fault after another into the code that
decides what is sent, and lists those that no test notices: the survivors.

Each survivor is either a test that is missing or a mutant that changes nothing that matters. The
latter go into ``accepted.toml``, with the reason. Fails for every other survivor, and for what the
time did not suffice to try.

Nothing is written into the checkout: a mutant exists in one process only. First all tests run
once, and it is seen which functions each of them calls; then each mutant meets only the tests that
call its function, the quickest first, until one fails.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.running import (
    CORES,
    Calls,
    Child,
    Outcome,
    Start,
    code_of,
    see_calls,
    start,
    with_collected,
)

TARGETS = (
    "speakerbot/delivery/claims.py",
    "speakerbot/delivery/planning.py",
    "speakerbot/delivery/recovery.py",
    "speakerbot/delivery/results.py",
    "speakerbot/delivery/status.py",
    "speakerbot/delivery/transitions.py",
    "speakerbot/domain/delivery.py",
    "speakerbot/domain/occurrence.py",
    "speakerbot/runs/occurrence_lock.py",
    "speakerbot/stores/mongo/ledger.py",
    "speakerbot/stores/sqlite/ledger.py",
)
TESTS = (
    "tests/unit",
    "tests/contract",
    "tests/integration/test_engine_flags.py",
    "tests/integration/test_engine_lost_claims.py",
    "tests/integration/test_engine_posts.py",
    "tests/integration/test_engine_recovery.py",
)
"""Those that run the code in their own process; a mutant does not exist in any other."""
ACCEPTED = Path(__file__).with_name("accepted.toml")
MINUTES = 60.0


@dataclass(frozen=True)
class Task:
    path: str
    mutant: Mutant
    tests: list[str]
    """The quickest first."""
    limit: float
    """Seconds after which it counts as hanging, which somebody would notice."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.partition("\n\n")[0])
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="FILE")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="PATH")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, metavar="FILE")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants whose name holds it")
    args = parser.parse_args()
    deadline = time.monotonic() + args.minutes * 60

    if missing := [path for path in args.targets if not Path(path).is_file()]:
        parser.error(f"no such file: {', '.join(missing)}")
    accepted = read_accepted(args.accepted)
    say(f"Running {' '.join(args.tests)} to see what each test calls …")
    calls = see_calls(args.targets, args.tests)
    if calls.failed:
        say("These fail without any mutant:", *calls.failed)
        return 2
    known = [task for path in args.targets for task in tasks_of(path, calls)]
    tasks = [task for task in known if args.only in task.mutant.name]
    say(f"{len(tasks)} mutants, {len(calls.tests)} tests that call the code.")
    outcomes = try_all(tasks, deadline)
    tell_of_the_list(accepted, outcomes, {task.mutant.name for task in known}, args.targets)
    return tell_of_the_outcomes(tasks, outcomes, accepted)


def read_accepted(path: Path) -> dict[str, str]:
    """The reason for each accepted survivor."""
    reasons = {}
    for entry in tomllib.loads(path.read_text("utf-8")).get("survivor", []):
        reasons[entry["mutant"]] = entry.get("reason", "").strip()
        if not reasons[entry["mutant"]]:
            raise SystemExit(f"{path}: no reason is given for {entry['mutant']!r}")
    return reasons


def tasks_of(path: str, calls: Calls) -> Iterator[Task]:
    for mutant in mutants(path, Path(path).read_text("utf-8")):
        tests = calls.of(path, mutant.lines)
        took = sum(calls.seconds[test] for test in tests)
        yield Task(path, mutant, tests, limit=20 + 5 * took)


def try_all(tasks: Sequence[Task], deadline: float) -> dict[str, Outcome]:
    """What became of each that there was time for, by its name."""
    outcomes: dict[str, Outcome] = {}
    quick: list[Task] = []
    slow: list[Task] = []
    for task in tasks:
        (quick if task.tests and code_of(task.path, task.mutant) else slow).append(task)
    # First those for which nothing of the project may have been imported.
    try_some(slow, start, outcomes, deadline)
    if quick:
        all_tests = {test for task in quick for test in task.tests}
        with_collected(all_tests, lambda begin: try_some(quick, begin, outcomes, deadline))
    return outcomes


def try_some(
    tasks: Sequence[Task], begin: Start, outcomes: dict[str, Outcome], deadline: float
) -> None:
    """As many at once as there are cores, in an order that leaves no file for the end."""
    waiting = random.Random(0).sample(tasks, len(tasks))
    running: list[Child] = []
    try:
        while (waiting and time.monotonic() < deadline) or running:
            while waiting and len(running) < CORES and time.monotonic() < deadline:
                task = waiting.pop()
                if task.tests:
                    running.append(begin(task.path, task.mutant, task.tests, task.limit))
                else:
                    outcomes[task.mutant.name] = Outcome.UNTESTED
            for child in [child for child in running if child.ended()]:
                running.remove(child)
                outcomes[child.name] = child.outcome()
                if not outcomes[child.name].noticed:
                    say(f"survived: {child.name}")
                if len(outcomes) % 50 == 0:
                    say(f"{len(outcomes)} tried …")
            time.sleep(0.01)
    finally:
        for child in running:
            child.kill()


def tell_of_the_list(
    accepted: Mapping[str, str],
    outcomes: Mapping[str, Outcome],
    known: Collection[str],
    paths: Collection[str],
) -> None:
    """What is on the list of accepted survivors and should not be any more."""
    for name in accepted:
        if name in outcomes and outcomes[name].noticed:
            say(f"NOTICED   {name}", "          by a test now: take it off the list")
        elif name not in known and name.split()[0] in paths:
            say(f"GONE      {name}", "          there is no such code: take it off the list")


def tell_of_the_outcomes(
    tasks: Sequence[Task], outcomes: Mapping[str, Outcome], accepted: Mapping[str, str]
) -> int:
    """The exit code: 1 if a mutant survived that is not accepted, or there was no time for one."""
    survivors = sorted(name for name, outcome in outcomes.items() if not outcome.noticed)
    listed = [name for name in survivors if name in accepted]
    new = [name for name in survivors if name not in accepted]
    for name in listed:
        say(f"accepted  {name}", f"          {accepted[name]}")
    for name in new:
        say(f"SURVIVED  {name}", f"          {outcomes[name].value}")
    for path in dict.fromkeys(task.path for task in tasks):
        names = [task.mutant.name for task in tasks if task.path == path]
        noticed = sum(name in outcomes and outcomes[name].noticed for name in names)
        say(f"{path}: {noticed} of {len(names)} noticed")
    untried = len(tasks) - len(outcomes)
    say(
        f"{len(outcomes)} mutants tried: {len(outcomes) - len(survivors)} noticed, "
        f"{len(listed)} accepted, {len(new)} survived; {untried} not tried."
    )
    return int(bool(new or untried))


def say(*lines: str) -> None:
    """Also while pytest captures what tests say."""
    assert sys.__stdout__ is not None
    sys.__stdout__.write("\n".join(lines) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    sys.exit(main())
