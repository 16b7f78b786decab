//! The gateway's config: typed, linted with positions, with a JSON Schema
