"""The paper's findings as claims: what each asks of the runs, and the verdict by statistics."""
