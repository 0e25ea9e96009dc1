"""Documentation, and the small programs that write the parts of it that are in the code already."""
