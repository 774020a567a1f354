"""Studies behind the pages of docs/, each with its figures: see README.md beside this file."""
