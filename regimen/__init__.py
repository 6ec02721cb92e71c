"""The clinical core: from what the record says about one patient to what the protocol advises.

Standard library only; no clock, no network, no FHIR and no patient identifier. Start with
`recommend.recommend`.
"""
