"""The noise laboratory: what an observer of the wire learns, measured (`scripts/noise-lab`).

`settings` and `classes` say what is compared, `tunnel`, `observer` and `traffic` make and record the
visits, `collect` runs many of them side by side, `features`, `classify` and `packets` attack
what was recorded, `control` judges whether the laboratory itself works, `report` and `plot` write it down.
"""
