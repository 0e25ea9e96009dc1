"""What is happening: counters while a run goes on, and what is shown of them."""
