"""Rounds and tunings: child processes, monitoring, cost estimates, and the queue of jobs."""
