"""What the survey (Li 2017) shows in pictures, measured over seeds: docs/survey.md."""
