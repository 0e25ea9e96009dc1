"""A small site full of pictures and faults, made on this machine, for a first crawl without the network.

One rule: the crawler imports nothing from here; the site is a process of its own, crawled like any other.
"""
