//! The commands that look at a config or at the build, each in its file.

pub mod check;
pub mod explain;
pub mod redrive;
pub mod schema;
pub mod version;
