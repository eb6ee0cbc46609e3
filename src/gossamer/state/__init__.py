"""State, declared once: attributes, their wire form, reset values, versions and description.

Read `codec` (values to bytes), `declare` (what a class body may say), `layout` (what goes on the
wire in which order, per profile), `transfer` (save and load of one object), `describe` (JSON).
"""
