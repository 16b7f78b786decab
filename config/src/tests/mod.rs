//! The loader against kinds made up for the purpose.

mod anything;
mod bad;
mod good;
mod kinds;
mod outside;
mod shape;
mod wire;
