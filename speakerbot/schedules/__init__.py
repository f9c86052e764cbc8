"""``schedules.json``: which job runs when, where and how. Start reading at ``reading``."""
