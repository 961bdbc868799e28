"""The mathematics in Pyomo: pieces that add one idea each, and formulations that list their pieces.

Every constraint names its equation in docs/math.md. Build functions are pure: no solve, no file.
"""
