"""What may go wrong, made to go wrong: every row of docs/reliability.md is a module here, whose `measure` counts."""
