"""`python -m newbie_ui.bench`: what the device can do, and how much of it each optimisation reaches.

work.py      how many operations a step needs: arithmetic, no device
ceilings.py  how fast this device does this model's matrix products and attention; the floor of a step
rungs.py     the ladder as presets; the reference transformer; full-size random weights
measure.py   one rung measured: first picture, steady state, memory, quality
report.py    table, CSV row, JSON line
"""
