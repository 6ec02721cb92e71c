"""The wire: what CDS Hooks requests and answers look like, and one module a service."""
