"""The audit of a cohort: leaks, near-duplicates, shortcuts, and what the cases are like."""
