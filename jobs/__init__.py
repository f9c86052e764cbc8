"""One module per job, named as its command. A job only decides; it never sends or writes."""
