"""Real servers for the tests, each a subprocess on a free loopback port.

faults: HTTP that misbehaves by name. nginx: a fast static server. pictures: the bytes both of them serve.
"""
