"""Making data sets: preparing, sampling, agreement, suspicious labels, texts from a taxonomy, translation."""
