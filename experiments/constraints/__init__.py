"""What each constraint on the critic does to a ring and to digits: docs/constraints.md."""
