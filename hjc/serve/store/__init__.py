"""What the desk keeps: ads, the queue, decisions that are only ever added to, and who did what."""
