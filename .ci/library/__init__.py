"""What the checks and the figures share. Both folders have a link to this one."""
