//! What a workspace has in front of its libraries: `reexported` knows verrou through it alone.

pub mod infra {
    //! Re-exports.
    pub use verrou as locks;
}
