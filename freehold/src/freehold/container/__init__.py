"""What of ours runs inside users' containers, where it is called `freehold_container`: it starts modal's own entrypoint, with seams replaced.

It must run on Python 3.9 to 3.14 with nothing but the standard library and the user's modal package, so it imports nothing else of
Freehold (and `import modal` only where a seam needs it). Wherever it is in doubt it leaves a call to the stock code.
"""
