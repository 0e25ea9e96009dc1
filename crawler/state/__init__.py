"""What has been done: the journal of a run, so that it can be interrupted and goes on where it was."""
