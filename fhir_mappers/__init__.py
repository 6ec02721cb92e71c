"""FHIR R4 on one side, the core's own types on the other.

Inward: raw FHIR JSON is filtered by code, read leniently, and becomes `regimen.facts`; what
cannot be read becomes a `Gap`. Outward: a regimen becomes draft orders that are valid R4.
Nothing clinical is decided here.
"""
