//! The loader against kinds made up for the purpose.

mod kinds;
mod look;
