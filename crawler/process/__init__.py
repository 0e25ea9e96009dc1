"""Pictures from bytes. What runs in the worker processes uses the standard library and Pillow only."""
