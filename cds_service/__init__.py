"""HTTP and CDS Hooks: how a request becomes facts and advice becomes cards. Nothing clinical."""
