//! The Bayeux 1.0 protocol as pure code: no socket, no clock
