//! trybuild
