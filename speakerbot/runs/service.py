"""The one way to run a job: the command line, ``run due``, the sandbox and triggers call it.

It looks at the kill switch, finds the schedule a run belongs to, opens the store, takes the
occurrence lock, runs the job and closes what it opened, whatever happens. Jobs, and all they need,
are imported only once a run has its turn: most ticks find that nothing is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from speakerbot import bootstrap, logs, process
from speakerbot.clock import Clock
from speakerbot.domain.job_registry import JobDeclaration, JobRegistry, RunOptions
from speakerbot.domain.run import Run, RunSkipReason, StopReason, named, new_run
from speakerbot.errors import SpeakerbotError, StoreLocked, Unreachable

if TYPE_CHECKING:
    from speakerbot.config import Settings
    from speakerbot.ports.channel import Channels
    from speakerbot.ports.store import Store
    from speakerbot.runs.job import Job, Pause
    from speakerbot.runs.occurrence_lock import LockedSchedule
    from speakerbot.runs.report import RunObserver, Waits
    from speakerbot.runs.runner import Runner
    from speakerbot.schedules.schedule import Schedule

TIMEOUT = timedelta(minutes=10)
"""Of a run outside a schedule."""
STORE_FAILED = (Unreachable.exit_code, StoreLocked.exit_code)
HARMLESS = (RunSkipReason.NOT_DUE, RunSkipReason.ALREADY_DONE, RunSkipReason.ALREADY_RUNNING)
"""Reasons to skip a run that need no attention."""


class Scheduling(NamedTuple):
    """How a run is bound to a schedule: by a name in the file, or by its own ``cron``. Neither:
    the run is not bound to any, and runs at once."""

    schedule: str | None = None
    """With ``cron`` it only names the occurrences; the job's name where it is missing."""
    cron: str | None = None
    timezone: str = "UTC"
    grace: timedelta = timedelta(hours=6)
    wait: timedelta = timedelta(0)
    share: bool = False
    """These three are about occurrences: a timed job has none, and takes no notice of them."""
    may_wait: bool = True
    """False: waiting, as for a schedule's ``wait``, would keep others waiting."""
    quiet: bool = False
    """A run that is not due says so at debug level only."""
    looks_ahead: bool = False
    """True also outside a schedule: send what falls due before anybody ticks again."""


class TimedSchedule(NamedTuple):
    """What names a run of a timed job, which holds no occurrence."""

    name: str
    timeout: timedelta
    enabled: bool = True
    """False: the run says so and does nothing."""


class RunRequest(NamedTuple):
    """One run of one job, as somebody asked for it."""

    job: str
    options: RunOptions = RunOptions()
    scheduling: Scheduling = Scheduling()
    now: datetime | None = None
    """Decide as if it were this time (UTC); None: the real one."""
    timeout: timedelta | None = None
    """None: the schedule's, else ``TIMEOUT``."""


class RunEnd(NamedTuple):
    """How a run ended."""

    skipped: RunSkipReason | None = None
    """Why it did nothing at all; None if it ran."""
    stopped: StopReason | None = None
    """Why it ended early, if it did."""
    seconds_left: float = 0.0
    """Of its timeout."""
    wait_until: datetime | None = None
    """Where it was not to wait: the real instant at which there is more to do."""
    next_due: datetime | None = None
    """Of a timed job: when something falls due, for whoever waits for something else meanwhile."""


def _load_job(declaration: JobDeclaration) -> Job:
    from speakerbot.runs.job import load_job  # most ticks load none

    return load_job(declaration)


@dataclass(frozen=True, slots=True)
class RunService:
    """Runs jobs with these settings. What has a default is another one in tests and the sandbox."""

    settings: Settings
    jobs: JobRegistry
    open_store: Callable[..., Store] = bootstrap.store
    connect: Callable[[Settings], Channels] = bootstrap.channels
    log: Any = field(default_factory=logs.get_logger)
    retry_within: timedelta = timedelta(seconds=60)
    """A retry that is due so soon is made in the same run."""
    sleep: Callable[[float], None] = process.sleep
    load: Callable[[JobDeclaration], Job] = _load_job
    clock_at: Callable[[datetime | None], Clock] = Clock.at
    """The clock of a run whose decision time was asked for; None: not."""

    def run(self, request: RunRequest, observers: Sequence[RunObserver]) -> RunEnd:
        """Runs the job if it is its turn; where it is not, says so loudly. Raises a SpeakerbotError
        with its exit code for what makes the whole run fail, and ``process.Interrupted`` when the
        process is asked to end; what it had begun is then recorded, the rest given back."""
        with process.held_off():
            return self._run(request, observers)

    def _run(self, request: RunRequest, observers: Sequence[RunObserver]) -> RunEnd:
        declared = self.jobs[request.job]
        clock = self.clock_at(request.now)
        schedule = self._named(request) if declared.timed else self._locked(request)
        record = new_run(declared.name, clock, request.now)
        logs.about(**named(record))
        dry_run, quiet = request.options.dry_run, request.scheduling.quiet
        if not self.settings.runs(declared.name) or (schedule and not schedule.enabled):
            return self._skip(
                _at_occurrence(record, schedule), RunSkipReason.DISABLED, dry_run, observers
            )
        if request.options.edit_only and self.settings.weekly_mode != "edit":
            # The schedule that edits ships enabled, for whoever switches the mode on.
            record = _at_occurrence(record, schedule)
            return self._skip(record, RunSkipReason.DISABLED, dry_run, observers, quietly=True)
        self._warn(declared)
        with process.let_in():
            store = self.open_store(self.settings, read_only=dry_run)
        (self.log.debug if quiet else self.log.info)("store_opened", store=store.describe())
        timeout = schedule.timeout if schedule else request.timeout or TIMEOUT
        work = _Work(self, request, timeout, store, clock, observers)
        try:
            if isinstance(schedule, TimedSchedule):
                return self._timed(schedule, work, record)
            if schedule is not None:
                return self._gated(schedule, work, record)
            work.pause = self.pausing(clock) if request.scheduling.may_wait else None
            work(record)
            return self._ended(work, record)
        finally:
            store.close()

    def _gated(self, schedule: LockedSchedule, work: _Work, record: Run) -> RunEnd:
        """The run as one of a schedule: if it gets an occurrence, and then the next ones that come
        while it stays."""
        from speakerbot.runs.occurrence_lock import OccurrenceLock

        request, declared = work.request, self.jobs[work.request.job]
        dry_run = request.options.dry_run
        lock = OccurrenceLock(
            schedule,
            work.store,
            work.clock,
            dry_run,
            self.log,
            sleep=self.sleep,
            configured=lambda: self._is_configured(declared, work.store),
        )
        work.pause = lock.pause if request.scheduling.may_wait else None
        work.looks_ahead = True
        work.stays_until = lock.next_occurrence
        if not_due := lock.serve(record, work):
            record = record._replace(schedule=schedule.name, occurrence=not_due.occurrence)
            quietly = request.scheduling.quiet and not_due.reason in HARMLESS
            return self._skip(record, not_due.reason, dry_run, work.observers, quietly=quietly)
        while work.outlived:
            # No scheduler starts what still runs: the next occurrence is ours, too.
            if lock.serve(new_run(declared.name, work.clock), work):
                break
        return self._ended(work, record)

    def _timed(self, schedule: TimedSchedule, work: _Work, record: Run) -> RunEnd:
        """A run that looks. Most find nothing to do and nothing to stay for: that costs one query,
        and writing down that there was a look."""
        from speakerbot.runs import timed_jobs
        from speakerbot.runs.job import AHEAD, JobContext
        from speakerbot.runs.routes import check_configured

        declared, options, asked = self.jobs[work.request.job], *work.request[1:3]
        by_hand = asked.schedule is None and asked.cron is None
        record = record._replace(schedule=None if by_hand else schedule.name)
        if not (options.dry_run or options.narrowed or work.clock.offset):
            work.looked = timed_jobs.Looks(schedule.name, work.store, work.clock, self.log).note
        horizon = options.horizon or timedelta()
        job, templates = self.load(declared), bootstrap.templates(self.settings.templates)
        context = JobContext(work.store, self.settings, record.now, templates=templates)
        found = timed_jobs.look_for_work(job, context, record.now + max(horizon, AHEAD))
        work.looked()
        if by_hand:  # whoever types a job's name is told what it lacks, also where nothing is due
            check_configured(declared.posts_to, work.store.guilds, self.settings)
        elif reason := timed_jobs.why_not(declared, found, context, horizon, work.clock):
            quietly = asked.quiet and reason in HARMLESS
            end = self._skip(record, reason, options.dry_run, work.observers, quietly=quietly)
            return end._replace(next_due=found.next_due)
        if asked.may_wait:
            work.pause = timed_jobs.on_record(self.pausing(work.clock), work.store, record)
        work(record)
        return self._ended(work, record)._replace(next_due=found.next_due)

    def _is_configured(self, declared: JobDeclaration, store: Store) -> bool:
        from speakerbot.runs.routes import is_configured  # a tick that is not due asks nothing

        return is_configured(declared.posts_to, store.guilds, self.settings)

    def pausing(self, clock: Clock) -> Pause:
        """Sleeps until a real instant, where there is no occurrence to hold meanwhile."""

        def pause(until: datetime, woken: Callable[[], bool] | None = None) -> None:
            left = max((until - clock.real()).total_seconds(), 0.0)
            self.log.info("run_waits", seconds=round(left))
            while left > 0 and not (woken and woken()):
                self.sleep(min(left, 1.0) if woken else left)
                left = (until - clock.real()).total_seconds()

        return pause

    def _ended(self, work: _Work, record: Run) -> RunEnd:
        end = RunEnd(None, work.stopped, work.seconds_left, work.wait_until)
        if work.sent and end.seconds_left:
            from speakerbot.runs.pruning import prune_daily

            prune_daily(work.store, self.settings, record.id, Clock().real(), self.log)
        return end

    def run_due(
        self,
        schedules: Iterable[Schedule],
        *,
        dry_run: bool,
        now: datetime | None,
        observers: Callable[[], Sequence[RunObserver]],
    ) -> int:
        """Runs every schedule that is due, one after another; one failure stops no other. Only then
        waits: for what falls due and is over before the next tick, and for an occurrence that comes
        within its schedule's ``wait``; and serves what falls due meanwhile. Returns the highest
        exit code. ``observers`` makes those of one run."""
        turn = _Turn(self, tuple(schedules), dry_run, now, observers)
        exit_code = turn.serve()
        turn.expect_coming()
        while turn.waiting:
            wake = turn.wakes_at()
            self.pausing(Clock())(wake, None)
            exit_code = max(exit_code, turn.serve(wake))
        if self.settings.enabled and not dry_run and exit_code not in STORE_FAILED:
            from speakerbot.runs.pruning import prune_opened

            prune_opened(self.open_store, self.settings, "due", self.log)
        return exit_code

    def runner(
        self,
        job: Job,
        options: RunOptions,
        store: Store,
        channels: Channels | None,
        observers: Sequence[RunObserver],
        clock: Clock,
        *,
        timeout: timedelta | None = TIMEOUT,
        record: Run | None = None,
        pause: Pause | None = None,
        looks_ahead: bool = False,
        keeps_clear: bool = False,
        stays_until: Callable[[], datetime | None] = lambda: None,
        timed: bool = False,
        looked: Callable[[], None] = lambda: None,
    ) -> Runner:
        """Everything one run of a job needs, joined."""
        from speakerbot.runs.runner import Runner

        return Runner(
            job=job,
            options=options,
            timeout=timeout,
            store=store,
            settings=self.settings,
            templates=bootstrap.templates(self.settings.templates),
            channels=channels,
            observers=observers,
            log=self.log,
            clock=clock,
            retry_within=self.retry_within,
            record=record,
            pause=pause,
            looks_ahead=looks_ahead,
            keeps_clear=keeps_clear,
            stays_until=stays_until,
            timed=timed,
            looked=looked,
        )

    def _named(self, request: RunRequest) -> TimedSchedule:
        """What names a timed job's run. With a cron expression no file is read."""
        asked = request.scheduling
        if asked.cron is not None or asked.schedule is None:
            return TimedSchedule(asked.schedule or request.job, request.timeout or TIMEOUT)
        schedule = self._in_file(request)
        return TimedSchedule(schedule.name, request.timeout or schedule.timeout, schedule.enabled)

    def _locked(self, request: RunRequest) -> LockedSchedule | None:
        """The schedule the run belongs to. With a cron expression no file is read."""
        asked = request.scheduling
        if asked.cron is None and asked.schedule is None:
            return None
        if asked.cron is None:
            return self._from_file(request)
        from speakerbot.runs.occurrence_lock import LockedSchedule, read_cron

        rules = read_cron(asked.cron, asked.timezone)
        rules = rules._replace(grace=asked.grace, wait=asked.wait, share=asked.share)
        timeout = request.timeout or TIMEOUT
        return LockedSchedule(asked.schedule or request.job, rules, timeout, enabled=True)

    def _in_file(self, request: RunRequest) -> Schedule:
        from speakerbot.schedules.reading import read_schedules

        name = request.scheduling.schedule or ""
        return read_schedules(self.settings.schedules, self.jobs).get(name, request.job)

    def _from_file(self, request: RunRequest) -> LockedSchedule:
        from speakerbot.runs.occurrence_lock import LockedSchedule

        schedule, asked = self._in_file(request), request.scheduling
        rules = schedule.rules if asked.may_wait else schedule.rules._replace(wait=timedelta())
        timeout = request.timeout or schedule.timeout
        return LockedSchedule(schedule.name, rules, timeout, schedule.enabled)

    def _skip(
        self,
        record: Run,
        reason: RunSkipReason,
        dry_run: bool,
        observers: Sequence[RunObserver],
        *,
        quietly: bool = False,
    ) -> RunEnd:
        """Says loudly that nothing was done, and why: it must never look like a success."""
        from speakerbot.runs.report import RunCounts, RunHeader, RunSummary

        logs.about(**named(record))
        log = self.log.info if reason in HARMLESS else self.log.warning
        (self.log.debug if quietly else log)("run_skipped", reason=reason)
        for observer in observers:
            observer.begin(RunHeader(record.job, record.id, dry_run, record.now, record.occurrence))
            observer.end(RunSummary(RunCounts(), 0, reason, quietly=quietly))
        return RunEnd(skipped=reason)

    def _warn(self, declared: JobDeclaration) -> None:
        from speakerbot.config import SHORT_LEASE
        from speakerbot.durations import format_duration

        if self.settings.lease < SHORT_LEASE:
            lease, advised = map(format_duration, (self.settings.lease, SHORT_LEASE))
            hint = "SPEAKERBOT_LEASE does not cover the longest send with its retries"
            self.log.warning("lease_short", lease=lease, advised=advised, hint=hint)
        if declared.asks_speakers and self.settings.tells_nobody:
            self.log.warning("organisers_not_told", hint="set DISCORD_LOGS_CHANNEL_ID")


@dataclass(slots=True)
class _Turn:
    """One ``run due``: every schedule, once, and again for what is waited for."""

    service: RunService
    schedules: Sequence[Schedule]
    dry_run: bool
    now: datetime | None
    observers: Callable[[], Sequence[RunObserver]]
    waiting: dict[str, datetime] = field(default_factory=dict)
    """By schedule: the instant at which there is more to do."""
    coming: dict[str, datetime] = field(default_factory=dict)
    """By schedule of a timed job: when something falls due. No run waits for that alone."""

    def serve(self, at: datetime | None = None) -> int:
        """Runs what is due; at the instant waited for, also what was waited for."""
        exit_code = 0
        for schedule in self.schedules:
            awaited = self.waiting.get(schedule.name)
            if at and awaited and awaited <= at:
                del self.waiting[schedule.name]
            else:
                awaited = None
            try:
                end = self._run(schedule, Scheduling(schedule.name, may_wait=False, quiet=True))
                if awaited and end.skipped in HARMLESS:  # its occurrence is served, this is not
                    more = Scheduling(may_wait=False, quiet=True, looks_ahead=True)
                    end = self._run(schedule, more)
            except SpeakerbotError as error:
                logs.report(error)
                exit_code = max(exit_code, error.exit_code)
            except Exception as error:
                logs.report_bug(error)
                exit_code = max(exit_code, SpeakerbotError.exit_code)
            else:
                if end.wait_until:
                    self.waiting[schedule.name] = end.wait_until
                if end.next_due:
                    self.coming[schedule.name] = end.next_due
        return exit_code

    def expect_coming(self) -> None:
        """Waits for each occurrence that comes within its schedule's ``wait``: only those that did
        so at first, since others might follow for ever."""
        if self.dry_run or self.now or not self.service.settings.enabled:
            return
        real = Clock().real()
        for schedule in self.schedules:
            if schedule.timed:
                continue
            at = schedule.rules.cron.next(real)
            if schedule.enabled and at - real <= schedule.rules.wait:
                self.waiting[schedule.name] = min(at, self.waiting.get(schedule.name, at))

    def _run(self, schedule: Schedule, scheduling: Scheduling) -> RunEnd:
        dry_run = self.dry_run or schedule.options.dry_run
        options = schedule.options._replace(dry_run=dry_run, horizon=None)
        timeout = None if scheduling.schedule else schedule.timeout
        request = RunRequest(schedule.job, options, scheduling, self.now, timeout)
        return self.service.run(request, self.observers())

    def wakes_at(self) -> datetime:
        """The next instant that is waited for, or at which an occurrence of any schedule comes."""
        now = Clock().real()
        coming = [schedule.rules.cron.next(now) for schedule in self.schedules if schedule.enabled]
        falls_due = [at for at in self.coming.values() if at > now]
        return min([*self.waiting.values(), *(at for at in coming if at), *falls_due])


@dataclass(slots=True)
class _Work:
    """What is done once it is the run's turn."""

    service: RunService
    request: RunRequest
    timeout: timedelta
    store: Store
    clock: Clock
    observers: Sequence[RunObserver]
    stopped: StopReason | None = None
    pause: Pause | None = None
    looks_ahead: bool = False
    stays_until: Callable[[], datetime | None] = lambda: None
    looked: Callable[[], None] = lambda: None
    """Called after each look of a timed job."""
    sent: bool = False
    outlived: bool = False
    seconds_left: float = 0.0
    wait_until: datetime | None = None

    def __call__(self, record: Run) -> Waits | None:
        from speakerbot.runs.node_bot_minute import is_shared

        declared = self.service.jobs[self.request.job]
        logs.about(**named(record))
        runner = self.service.runner(
            self.service.load(declared),
            self.request.options,
            self.store,
            None if self.request.options.dry_run else self.service.connect(self.service.settings),
            self.observers,
            self.clock,
            timeout=self.timeout,
            record=record,
            pause=self.pause,
            looks_ahead=self.looks_ahead or self.request.scheduling.looks_ahead,
            keeps_clear=is_shared(declared, self.service.settings),
            stays_until=self.stays_until,
            timed=declared.timed,
            looked=self.looked,
        )
        self.outlived = False
        waits = runner.run()
        self.stopped, self.sent = runner.stopped, self.sent or runner.sent
        self.outlived = runner.outlived
        self.seconds_left, self.wait_until = runner.seconds_left, runner.wait_until
        return waits


def _at_occurrence(record: Run, schedule: LockedSchedule | TimedSchedule | None) -> Run:
    """The run as one of its schedule, before the store is asked about the occurrence."""
    if not schedule:
        return record
    held = None if isinstance(schedule, TimedSchedule) else schedule.rules
    occurrence = held.occurrence(record.now) if held else None
    return record._replace(schedule=schedule.name, occurrence=occurrence)
