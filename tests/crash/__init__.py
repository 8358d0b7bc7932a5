"""The sensor killed for real: SIGKILL at a chosen step, or at any moment.

Sensor and embedded engine are processes of their own, and a proxy stands between them:

    poster ──▶ sensor ──▶ proxy (counts the steps, kills) ──▶ engine

``world`` puts them up, ``proxy`` kills at a step, ``sensor`` starts the process again at once,
``checks`` says what must hold whatever was killed.
"""
