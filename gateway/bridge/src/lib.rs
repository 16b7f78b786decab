//! The bridge between Bayeux sessions and brokers: mapping, ingest, egress, services
