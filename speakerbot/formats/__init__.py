"""The files people bring and take: talks, people and guild settings as JSON lines, CSV and ICS."""
