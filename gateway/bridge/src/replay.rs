//! Replay: clients read on from a position, and those who fell behind catch up, from the mapping's ring or the broker's log.
mod catch_up;
mod request;
mod ring;
