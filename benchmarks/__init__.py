"""Side-by-side measurements: a corpus, a server for it, the rival, and a check of what came out.

Needs the benchmark tools (nginx, scikit-image, scikit-learn, numpy); never imported by the package.
"""
