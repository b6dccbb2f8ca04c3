"""Training: settings, optimisers, schedules, checkpoints that survive a kill, and the loop that uses them."""
