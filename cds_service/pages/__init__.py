"""What can a person look at? The order-entry page of development, and what the service is.

`about`, `source_attributes` and `canonical` say what is on the pages and in the project's own FHIR
resources; `routes` and `order_entry` serve it.
"""
