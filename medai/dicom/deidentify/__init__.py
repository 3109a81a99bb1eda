"""De-identification after PS3.15 Annex E: what a data set may keep, what is changed, and which files are refused."""
