"""Makes Fly Machines equal to ``schedules.json``. Start reading at ``plan``, then ``apply``."""
